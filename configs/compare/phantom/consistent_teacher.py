# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/consistent_teacher.py
# Consistent-Teacher, small ResNet-18 from scratch: films, batches and burn-in of frac_ssl_phantom.py,
# P_pub without its labels.
_base_ = [
    '../../_base_/models/boxes/consistent_teacher.py',
    '../../_base_/models/boxes/small_r18.py',
    '../../_base_/datasets/small_boxes_semi.py',
    '../../_base_/schedules/small_14e.py',
    '../../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
anchors = dict(octave_base_scale=4, strides=_base_.small_strides)
model = dict(
    detector=dict(
        backbone=_base_.small_backbone,
        neck=_base_.small_neck,
        bbox_head=dict(
            in_channels=32,
            feat_channels=32,
            stacked_convs=2,
            norm_cfg=dict(type='GN', num_groups=8),
            anchor_generator=anchors,
        ),
    ),
    semi_train_cfg=dict(unsup_weight=1.0, burn_in_epochs=8),
)
# 0.0005 would leave the teacher far behind after 700 steps
default_hooks = dict(mean_teacher=dict(_base_.teacher_hooks.mean_teacher, momentum=0.01))
