# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Decoded and resized films on disk, bit for bit as the pipeline makes them."""
