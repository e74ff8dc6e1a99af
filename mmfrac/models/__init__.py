# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .cam_classifier import CAMClassifier
from .ensemble_detector import EnsembleDetector
from .losses import (
    KLDLoss,
    MapMSELoss,
    NoisyOrLoss,
    SoftFocalLoss,
    WeightedBCELoss,
    WindowLoss,
)
from .mix_up import MixUp
from .prediction_ema import PredictionEMA
from .prob_map_detector import ProbMapDetector
from .prob_map_head import ProbMapHead
from .prob_map_tta import ProbMapTTAModel
from .pseudo_labels import (
    AdaptiveAsymmetricSharpening,
    ConstantSharpening,
    DynamicSharpening,
    KnownPositive,
    TemperatureSharpening,
    WarpToStudent,
)
from .semi_data_preprocessor import SemiDataPreprocessor
from .semi_prob_map_detector import SemiProbMapDetector
from .teachers import AugmentedTeacher, MeanTeacher, PiTeacher, TemporalEnsembleTeacher

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'AugmentedTeacher',
    'CAMClassifier',
    'ConstantSharpening',
    'DynamicSharpening',
    'EnsembleDetector',
    'KLDLoss',
    'KnownPositive',
    'MapMSELoss',
    'MeanTeacher',
    'MixUp',
    'NoisyOrLoss',
    'PiTeacher',
    'PredictionEMA',
    'ProbMapDetector',
    'ProbMapHead',
    'ProbMapTTAModel',
    'SemiDataPreprocessor',
    'SemiProbMapDetector',
    'SoftFocalLoss',
    'TemperatureSharpening',
    'TemporalEnsembleTeacher',
    'WarpToStudent',
    'WeightedBCELoss',
    'WindowLoss',
]
