# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's RTMDet-s for one class and grey films in [0, 1]. Plain BN: mmdet's SyncBN needs GPUs. There
# --cfg-options model.use_syncbn=True shares the statistics among them.
_base_ = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'
from mmfrac.utils.config import keep_only

keep_only(_base_, 'model')
norm_cfg = dict(type='BN')
model = dict(
    use_syncbn=False,
    data_preprocessor=dict(mean=[0.449], std=[0.226], pad_size_divisor=32),
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    bbox_head=dict(num_classes=1, norm_cfg=norm_cfg),
    test_cfg=dict(nms_pre=1000, max_per_img=100),
)
