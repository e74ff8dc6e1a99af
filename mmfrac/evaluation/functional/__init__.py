# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The mathematics of the metrics: arrays in, numbers out.

May import itself, numpy, scipy and numba; nothing else of mmfrac.
"""
