# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .cached_radiograph import CachedRadiograph
from .formatting import PackProbMapInputs
from .intensity import IntensityJitter
from .load_radiograph import LoadRadiograph
from .pad_radiograph import PadRadiograph
from .prob_map_target import ProbMapTarget
from .window_target import WindowTarget

__all__ = [
    'CachedRadiograph',
    'IntensityJitter',
    'LoadRadiograph',
    'PackProbMapInputs',
    'PadRadiograph',
    'ProbMapTarget',
    'WindowTarget',
]
