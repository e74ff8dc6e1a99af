# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/retinanet.py
# RetinaNet, small ResNet-18 from scratch: films, batches and steps of frac_sup_phantom.py.
_base_ = [
    '../../_base_/models/boxes/retinanet.py',
    '../../_base_/models/boxes/small_r18.py',
    '../../_base_/datasets/small_boxes.py',
    '../../_base_/schedules/small_14e.py',
    '../../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
anchors = dict(octave_base_scale=4, strides=_base_.small_strides)
model = dict(
    backbone=_base_.small_backbone,
    neck=_base_.small_neck,
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=2, anchor_generator=anchors),
)
