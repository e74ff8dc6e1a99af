# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions on disk, of any detector, against an annotation file."""
