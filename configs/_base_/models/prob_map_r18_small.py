# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# A ResNet-18 of quarter width with FPN, from scratch: trains on two CPU cores in minutes. Fracture
# cells weigh less than in the paper: with alpha_r = 10 the scores of so small a net saturate.
_base_ = 'prob_map_r50_fpn.py'
model = dict(
    backbone=dict(depth=18, base_channels=16, stem_channels=16, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    prob_map_head=dict(
        in_channels=32,
        feat_channels=32,
        norm_cfg=dict(type='GN', num_groups=8),
        loss=dict(alpha_r=5.0, alpha_l=1.0),
    ),
)
