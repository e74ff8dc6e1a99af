# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/faster_rcnn.py
# Faster R-CNN, small ResNet-18 from scratch: films, batches and steps of frac_sup_phantom.py.
_base_ = [
    '../../_base_/models/boxes/faster_rcnn.py',
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
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4.5])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=128),
    ),
    train_cfg=dict(rpn_proposal=_base_.small_proposals, rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=_base_.small_proposals),
)
