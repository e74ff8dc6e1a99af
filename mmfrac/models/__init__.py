# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Detectors, backbones, heads, losses, teachers and pseudo labels: tensors in, tensors out.

``postprocess`` makes boxes of maps, ``target_maps`` stacks targets, ``tta`` averages views,
``batch_augments`` and ``data_preprocessor`` prepare batches. May import ``utils`` only.
"""

from mmfrac.models.backbones.timm_backbone import TimmBackbone
from mmfrac.models.batch_augments import EraseBackground, MixUp
from mmfrac.models.data_preprocessor import SemiDataPreprocessor
from mmfrac.models.detectors.cam_classifier import CAMClassifier
from mmfrac.models.detectors.consistent_teacher import ConsistentTeacher
from mmfrac.models.detectors.ensemble_detector import EnsembleDetector
from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.models.ema import PredictionEMA
from mmfrac.models.heads.adaptive_sample_assigner import AdaptiveSampleAssigner
from mmfrac.models.heads.fam3d_head import FAM3DHead
from mmfrac.models.heads.image_head import ImageHead
from mmfrac.models.heads.prob_map_head import ProbMapHead
from mmfrac.models.losses import (
    KLDLoss,
    MapMSELoss,
    MILLoss,
    NoisyOrLoss,
    SoftFocalLoss,
    WeightedBCELoss,
    WindowLoss,
)
from mmfrac.models.pseudo_labels import (
    AdaptiveAsymmetricSharpening,
    AdaptiveThreshold,
    ConstantSharpening,
    DynamicSharpening,
    KnownPositive,
    MixtureSharpening,
    NoisyOrPosterior,
    SoftMatchWeight,
    TemperatureSharpening,
    TopCells,
    WarpToStudent,
)
from mmfrac.models.teachers import (
    AugmentedTeacher,
    BaseTeacher,
    FrozenTeacher,
    MeanTeacher,
    PiTeacher,
    SnapshotTeacher,
    TemporalEnsembleTeacher,
    WrappingTeacher,
)
from mmfrac.models.tta import ProbMapTTAModel

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'AdaptiveSampleAssigner',
    'AdaptiveThreshold',
    'AugmentedTeacher',
    'BaseTeacher',
    'CAMClassifier',
    'ConsistentTeacher',
    'ConstantSharpening',
    'DynamicSharpening',
    'EnsembleDetector',
    'EraseBackground',
    'FAM3DHead',
    'FrozenTeacher',
    'ImageHead',
    'KLDLoss',
    'KnownPositive',
    'MILLoss',
    'MapMSELoss',
    'MeanTeacher',
    'MixUp',
    'MixtureSharpening',
    'NoisyOrLoss',
    'NoisyOrPosterior',
    'PiTeacher',
    'PredictionEMA',
    'ProbMapDetector',
    'ProbMapHead',
    'ProbMapTTAModel',
    'SemiDataPreprocessor',
    'SemiProbMapDetector',
    'SnapshotTeacher',
    'SoftFocalLoss',
    'SoftMatchWeight',
    'TemperatureSharpening',
    'TemporalEnsembleTeacher',
    'TimmBackbone',
    'TopCells',
    'WarpToStudent',
    'WeightedBCELoss',
    'WindowLoss',
    'WrappingTeacher',
]
