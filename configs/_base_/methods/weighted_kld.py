# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening; fracture cells of the pseudo map weigh alpha_r, that of L_sup. Not in the paper.
from mmfrac.utils.config import change_transform

change_transform(_base_.model.semi_loss, 'KLDLoss', alpha_r='auto')
