# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/fcos.py
# FCOS, small ResNet-18 from scratch: films, batches and steps of frac_sup_phantom.py.
_base_ = [
    '../../_base_/models/boxes/fcos.py',
    '../../_base_/models/boxes/small_r18.py',
    '../../_base_/datasets/small_boxes.py',
    '../../_base_/schedules/small_14e.py',
    '../../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
model = dict(
    backbone=_base_.small_backbone,
    neck=_base_.small_neck,
    bbox_head=dict(
        in_channels=32,
        feat_channels=32,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=8),
        strides=_base_.small_strides,
        regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 128), (128, 1e8)),
    ),
)
