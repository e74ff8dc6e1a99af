# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .losses import KLDLoss, WeightedBCELoss
from .prob_map_detector import ProbMapDetector
from .prob_map_head import ProbMapHead
from .pseudo_labels import DynamicSharpening, WarpToStudent
from .semi_data_preprocessor import SemiDataPreprocessor
from .semi_prob_map_detector import SemiProbMapDetector
from .teachers import PiTeacher

__all__ = [
    'DynamicSharpening',
    'KLDLoss',
    'PiTeacher',
    'ProbMapDetector',
    'ProbMapHead',
    'SemiDataPreprocessor',
    'SemiProbMapDetector',
    'WarpToStudent',
    'WeightedBCELoss',
]
