# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Detectors: a backbone, a neck and a head, with or without a teacher.

May import the heads, losses and teachers beside them, and ``utils``.
"""
