# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/soft_teacher.py --cfg-options load_from=CHECKPOINT
# SoftTeacher, small ResNet-18: films and batches of frac_ssl_phantom.py, P_pub without its labels. A
# teacher that finds nothing teaches nothing, so it goes on from faster_rcnn_burn_in.py, as many steps
# in all.
_base_ = [
    '../../_base_/models/boxes/soft_teacher.py',
    '../../_base_/models/boxes/small_r18.py',
    '../../_base_/datasets/small_boxes_semi.py',
    '../../_base_/schedules/small_14e.py',
    '../../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
max_epochs = 7
model = dict(
    detector=dict(
        backbone=_base_.small_backbone,
        neck=_base_.small_neck,
        rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4.5])),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=32),
            bbox_head=dict(in_channels=32, fc_out_channels=128),
        ),
        train_cfg=dict(rpn_proposal=_base_.small_proposals, rcnn=dict(sampler=dict(num=64))),
        test_cfg=dict(rpn=_base_.small_proposals),
    ),
    # a net this small is seldom as sure as mmdet's thresholds of 0.9 ask for
    semi_train_cfg=dict(unsup_weight=1.0, rpn_pseudo_thr=0.5, cls_pseudo_thr=0.5),
)
# 0.001 would leave most of the teacher's first weights after all 350 steps
default_hooks = dict(
    mean_teacher=dict(_base_.teacher_hooks.mean_teacher, momentum=0.01),
    teacher_eval=_base_.teacher_hooks.teacher_eval,
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_epochs)]
