# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Decoded and resized films on disk, bit for bit as the pipeline makes them.

Written once with ``cache_writer``, read by the step ``CachedRadiograph``. May import
``radiographs``, the transforms that it stands in for, and ``utils``.
"""
