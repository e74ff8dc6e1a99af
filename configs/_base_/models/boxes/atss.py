# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's ATSS for one class and grey films in [0, 1], adapted as in retinanet.py.
_base_ = 'mmdet::atss/atss_r50_fpn_1x_coco.py'
from mmfrac.utils.config import keep_only

keep_only(_base_, 'model')
model = dict(
    data_preprocessor=dict(mean=[0.449], std=[0.226], bgr_to_rgb=False),
    backbone=dict(frozen_stages=-1, norm_eval=False),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(score_thr=0.001),
)
