# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions on disk: prob maps and boxes of mmfrac, COCO results and tables of any detector.

Their ground truth, and what is computed from both. May import ``evaluation.functional``, ``metrics`` and
all that ``evaluation`` may.
"""
