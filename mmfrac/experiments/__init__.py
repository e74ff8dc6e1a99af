# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Many trainings, started, resumed and set side by side.

May import all but ``apis``.
"""
