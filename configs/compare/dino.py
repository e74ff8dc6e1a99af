# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/compare/dino.py 4
# DINO (mmdet) on P_hos and N: the films, augmentation, epochs and batch of frac_sup.py.
_base_ = [
    '../_base_/models/boxes/dino.py',
    '../_base_/datasets/cxr_boxes.py',
    '../_base_/schedules/sgd_30e.py',
    '../_base_/default_runtime.py',
]
# mmdet's optimiser, 2e-4 by the linear rule from 1e-4 at 16
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
