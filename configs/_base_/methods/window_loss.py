# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Window loss [16] on point annotations: the box films are known by the centres of their boxes alone,
# P_pub is not used. Shape and radii of the window are unverified: our source does not state them.
from mmfrac.utils.config import change_transform

window = dict(type='WindowTarget', inner=0.015, outer=0.05)
change_transform(_base_.train_dataloader, 'ProbMapTarget', **window)
model = dict(
    detector=dict(prob_map_head=dict(loss=dict(_delete_=True, type='WindowLoss', alpha_r=10.0))),
    semi_train_cfg=dict(burn_in_epochs='all'),
)
