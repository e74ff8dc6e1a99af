# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .ensemble_detector import EnsembleDetector
from .losses import KLDLoss, MapMSELoss, WeightedBCELoss
from .prob_map_detector import ProbMapDetector
from .prob_map_head import ProbMapHead
from .prob_map_tta import ProbMapTTAModel
from .pseudo_labels import (
    AdaptiveAsymmetricSharpening,
    ConstantSharpening,
    DynamicSharpening,
    TemperatureSharpening,
    WarpToStudent,
)
from .semi_data_preprocessor import SemiDataPreprocessor
from .semi_prob_map_detector import SemiProbMapDetector
from .teachers import MeanTeacher, PiTeacher, TemporalEnsembleTeacher

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'ConstantSharpening',
    'DynamicSharpening',
    'EnsembleDetector',
    'KLDLoss',
    'MapMSELoss',
    'MeanTeacher',
    'PiTeacher',
    'ProbMapDetector',
    'ProbMapHead',
    'ProbMapTTAModel',
    'SemiDataPreprocessor',
    'SemiProbMapDetector',
    'TemperatureSharpening',
    'TemporalEnsembleTeacher',
    'WarpToStudent',
    'WeightedBCELoss',
]
