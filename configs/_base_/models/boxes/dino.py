# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's DINO for one class and grey films in [0, 1], adapted as in retinanet.py: 100 queries, as films
# have few lesions. On a GPU its deformable attention needs mmcv with compiled operators.
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
from mmfrac.utils.config import keep_only

keep_only(_base_, 'model')
model = dict(
    num_queries=100,
    data_preprocessor=dict(mean=[0.449], std=[0.226], bgr_to_rgb=False),
    backbone=dict(frozen_stages=-1, norm_cfg=dict(requires_grad=True), norm_eval=False),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(max_per_img=100),
)
