# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's SoftTeacher around Faster R-CNN for one class and grey films in [0, 1]. Its ResNet is that of
# mmdet's Faster R-CNN (PyTorch style) and is trained, BN included: so the teacher averages the
# statistics too, and runs in eval mode.
_base_ = 'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
from mmfrac.utils.config import keep_only

keep_only(_base_, 'model')
preprocessor = dict(mean=[0.449], std=[0.226])
model = dict(
    data_preprocessor=dict(data_preprocessor=preprocessor),
    detector=dict(
        data_preprocessor=preprocessor,
        backbone=dict(
            frozen_stages=-1,
            norm_cfg=dict(requires_grad=True),
            norm_eval=False,
            style='pytorch',
            init_cfg=dict(checkpoint='torchvision://resnet50'),
        ),
        roi_head=dict(bbox_head=dict(num_classes=1)),
        test_cfg=dict(rcnn=dict(score_thr=0.001)),
    ),
)
# a config merges these into its default_hooks
teacher_hooks = dict(
    mean_teacher=dict(type='MeanTeacherHook', skip_buffer=False),
    teacher_eval=dict(type='TeacherEvalHook'),
)
