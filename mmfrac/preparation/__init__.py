# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Once, before training: data sets brought into mmfrac's format, checked, split or made up.

Nothing that trains imports it. May import ``visualization``, ``datasets`` and ``utils``.
"""
