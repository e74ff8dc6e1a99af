# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Sections of tools/analysis_tools/benchmark.py; each has ``measure(repeats)``."""
