# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Losses of maps of logits, supervised and semi-supervised.

They take logits and a weight map, and leave weights of zero out. May import ``utils`` only.
"""

from mmfrac.models.losses.cell_loss import SemiLoss
from mmfrac.models.losses.kld_loss import KLDLoss
from mmfrac.models.losses.map_mse_loss import MapMSELoss
from mmfrac.models.losses.mil_loss import MILLoss
from mmfrac.models.losses.noisy_or_loss import NoisyOrLoss
from mmfrac.models.losses.soft_focal_loss import SoftFocalLoss
from mmfrac.models.losses.weighted_bce_loss import WeightedBCELoss
from mmfrac.models.losses.window_loss import WindowLoss

__all__ = [
    'KLDLoss',
    'MILLoss',
    'MapMSELoss',
    'NoisyOrLoss',
    'SemiLoss',
    'SoftFocalLoss',
    'WeightedBCELoss',
    'WindowLoss',
]
