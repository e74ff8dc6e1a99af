# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/rtmdet.py
# RTMDet of the width of the small ResNet-18, from scratch: films, batches and steps of
# frac_sup_phantom.py.
_base_ = [
    '../../_base_/models/boxes/rtmdet.py',
    '../../_base_/models/boxes/small_r18.py',
    '../../_base_/datasets/small_boxes.py',
    '../../_base_/schedules/small_14e.py',
    '../../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
model = dict(
    backbone=dict(widen_factor=0.125, out_indices=(1, 2, 3, 4), init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    # as in the larger RTMDets: with the linear distances of RTMDet-s it learnt nothing in 200 steps
    bbox_head=dict(
        in_channels=32,
        feat_channels=32,
        exp_on_reg=True,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
    ),
)
