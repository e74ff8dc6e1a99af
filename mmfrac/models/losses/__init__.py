# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .kld_loss import KLDLoss
from .map_mse_loss import MapMSELoss
from .weighted_bce_loss import WeightedBCELoss

__all__ = ['KLDLoss', 'MapMSELoss', 'WeightedBCELoss']
