# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics of MMEngine: ``FracMetric`` and the files that it writes.

May import ``evaluation.functional`` and all that ``evaluation`` may.
"""
