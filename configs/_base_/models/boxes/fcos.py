# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's FCOS (centre sampling, GIoU) for one class and grey films in [0, 1], adapted as in
# retinanet.py.
_base_ = (
    'mmdet::fcos/fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco.py'
)
from mmfrac.utils.config import keep_only

keep_only(_base_, 'model')
model = dict(
    data_preprocessor=dict(mean=[0.449], std=[0.226], bgr_to_rgb=False, batch_augments=None),
    backbone=dict(frozen_stages=-1, norm_eval=False),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(score_thr=0.001),
)
