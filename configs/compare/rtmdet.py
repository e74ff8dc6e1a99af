# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/compare/rtmdet.py 4
# RTMDet-s (mmdet) on P_hos and N: the films, augmentation, epochs and batch of frac_sup.py.
_base_ = [
    '../_base_/models/boxes/rtmdet.py',
    '../_base_/datasets/cxr_boxes.py',
    '../_base_/schedules/sgd_30e.py',
    '../_base_/default_runtime.py',
]
# mmdet's optimiser, scaled from a batch of 256
optimizer = dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.05)
paramwise_cfg = dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True)
optim_wrapper = dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)
