# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's RetinaNet for one class and grey films in [0, 1]. As in the prob map model the whole backbone
# is trained; boxes of low score are kept for FROC.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(
    data_preprocessor=dict(mean=[0.449], std=[0.226], bgr_to_rgb=False),
    backbone=dict(frozen_stages=-1, norm_eval=False),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(score_thr=0.001),
)
