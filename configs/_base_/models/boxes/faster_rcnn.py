# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's Faster R-CNN for one class and grey films in [0, 1], adapted as in retinanet.py.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'
model = dict(
    data_preprocessor=dict(mean=[0.449], std=[0.226], bgr_to_rgb=False),
    backbone=dict(frozen_stages=-1, norm_eval=False),
    roi_head=dict(bbox_head=dict(num_classes=1)),
    test_cfg=dict(rcnn=dict(score_thr=0.001)),
)
