# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .kld_loss import KLDLoss
from .weighted_bce_loss import WeightedBCELoss

__all__ = ['KLDLoss', 'WeightedBCELoss']
