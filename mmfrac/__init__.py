# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Rib and clavicle fracture detection in chest X-rays, a plugin for MMDetection.

Importing it registers datasets, models, hooks, metrics and visualizers with mmdet's registries; what
prepares data, runs experiments, answers for single films or puts a model to use is imported by who needs
it. A package imports only what is below it: deployment, apis, experiments, evaluation, preparation,
visualization, then engine and datasets, which do not know each other, models, utils.
"""

from mmfrac.utils.environment import check_environment
from mmfrac.version import __version__

check_environment()

from mmfrac.utils.config_text import format_once  # noqa: E402
from mmfrac.utils.packaged import use_packaged_configs  # noqa: E402
from mmfrac.utils.torchvision_ops import declare_missing_operators  # noqa: E402

format_once()
use_packaged_configs()
declare_missing_operators()

# what is imported below registers itself with mmdet's registries
from . import datasets, engine, evaluation, models, visualization  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
