# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# A ResNet-18 of half width with FPN, from scratch: trains on two CPU cores in minutes.
_base_ = 'prob_map_r50_fpn.py'
model = dict(
    backbone=dict(depth=18, base_channels=32, stem_channels=32, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    prob_map_head=dict(in_channels=64, feat_channels=64, norm_cfg=dict(type='GN', num_groups=16)),
)
