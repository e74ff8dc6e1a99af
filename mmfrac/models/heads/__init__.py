# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The head that turns features into a map of logits.

May import losses and ``utils``.
"""
