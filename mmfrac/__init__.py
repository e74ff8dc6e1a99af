# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Rib and clavicle fracture detection in chest X-rays, a plugin for MMDetection."""

from mmfrac.utils.environment import check_environment
from mmfrac.version import __version__

check_environment()

# what is imported below registers itself with mmdet's registries
from . import datasets, engine, evaluation, models, visualization  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
