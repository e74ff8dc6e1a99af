# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# EfficientNet-Lite0 with ImageNet weights and a narrow FPN: trains on a few CPU cores.
_base_ = 'prob_map_r50_fpn.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, 'backbones/efficientnet_lite0.py')
model = dict(
    neck=dict(out_channels=48),
    prob_map_head=dict(
        in_channels=48,
        feat_channels=48,
        norm_cfg=dict(type='GN', num_groups=8),
        loss=dict(alpha_r=5.0, alpha_l=1.0),
    ),
)
