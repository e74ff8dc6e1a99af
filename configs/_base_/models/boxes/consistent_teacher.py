# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Consistent-Teacher around mmdet's RetinaNet for one class and grey films in [0, 1], adapted as in
# retinanet.py, with the authors' settings. BN is trained: so the teacher averages the statistics too.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
detector = _base_.model
detector.data_preprocessor.update(mean=[0.449], std=[0.226], bgr_to_rgb=False)
detector.backbone.update(frozen_stages=-1, norm_eval=False)
detector.neck.add_extra_convs = 'on_output'
detector.bbox_head = dict(
    type='FAM3DHead',
    num_classes=1,
    in_channels=256,
    stacked_convs=4,
    feat_channels=256,
    anchor_generator=dict(
        type='AnchorGenerator',
        ratios=[1.0],
        octave_base_scale=8,
        scales_per_octave=1,
        strides=[8, 16, 32, 64, 128],
    ),
    bbox_coder=dict(
        type='DeltaXYWHBBoxCoder',
        target_means=[0.0, 0.0, 0.0, 0.0],
        target_stds=[0.1, 0.1, 0.2, 0.2],
    ),
    loss_cls=dict(
        type='FocalLoss', use_sigmoid=True, activated=True, gamma=2.0, alpha=0.25, loss_weight=1.0
    ),
    loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
)
detector.train_cfg = dict(
    assigner=dict(type='AdaptiveSampleAssigner', topk=13, iou_weight=2.0),
    allowed_border=-1,
    pos_weight=-1,
)
detector.test_cfg.update(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.6))
model = dict(
    _delete_=True,
    type='ConsistentTeacher',
    detector=detector,
    data_preprocessor=dict(
        type='SemiDataPreprocessor', data_preprocessor=detector.data_preprocessor
    ),
    semi_train_cfg=dict(unsup_weight=2.0, burn_in_epochs=2, num_scores=100),
    semi_test_cfg=dict(predict_on='teacher'),
)
del detector
# a config merges these into its default_hooks
teacher_hooks = dict(
    mean_teacher=dict(type='RampedMeanTeacherHook', momentum=0.0005, skip_buffer=False)
)
