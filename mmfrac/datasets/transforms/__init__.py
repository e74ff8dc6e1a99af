# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Steps of a pipeline, from a film's file to the network's input and targets.

They take and give mmdet's ``results`` and stand beside mmdet's own steps. May import ``radiographs``,
``film_cache`` and ``utils``.
"""

from mmfrac.datasets.transforms.cached_radiograph import CachedRadiograph
from mmfrac.datasets.transforms.formatting import PackProbMapInputs
from mmfrac.datasets.transforms.intensity import IntensityJitter
from mmfrac.datasets.transforms.load_radiograph import LoadRadiograph
from mmfrac.datasets.transforms.pad_radiograph import PadRadiograph
from mmfrac.datasets.transforms.strong_intensity import StrongIntensity
from mmfrac.datasets.transforms.targets import ProbMapTarget, WindowTarget

__all__ = [
    'CachedRadiograph',
    'IntensityJitter',
    'LoadRadiograph',
    'PackProbMapInputs',
    'PadRadiograph',
    'ProbMapTarget',
    'StrongIntensity',
    'WindowTarget',
]
