# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Folds of cross-validation: patients dealt to parts, annotation files written.

May import ``converters``, ``datasets`` and ``utils``.
"""
