# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Hooks of MMEngine's runner, one a file.

Registered with mmdet's registry. May import ``models`` and ``utils``.
"""
