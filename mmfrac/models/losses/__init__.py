# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .kld_loss import KLDLoss
from .map_mse_loss import MapMSELoss
from .noisy_or_loss import NoisyOrLoss
from .semi_loss import SemiLoss
from .soft_focal_loss import SoftFocalLoss
from .weighted_bce_loss import WeightedBCELoss
from .window_loss import WindowLoss

__all__ = [
    'KLDLoss',
    'MapMSELoss',
    'NoisyOrLoss',
    'SemiLoss',
    'SoftFocalLoss',
    'WeightedBCELoss',
    'WindowLoss',
]
