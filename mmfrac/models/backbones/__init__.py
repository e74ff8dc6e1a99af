# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Backbones beside mmdet's."""
