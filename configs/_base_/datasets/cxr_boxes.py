# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# The films of cxr.py for box detectors: the plane three times, boxes instead of a mask. Negatives stay.
_base_ = 'cxr.py'
load = [dict(type='LoadRadiograph', channels=3), *_base_.load[1:]]
pack = [
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type='PackProbMapInputs'),
]
train_pipeline = [*load, *_base_.augment, *pack]
test_pipeline = [load[0], *_base_.test_pipeline[1:]]
tta_pipeline = [load[0], *_base_.tta_pipeline[1:]]
tta_cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
tta_model = dict(_delete_=True, type='DetTTAModel', tta_cfg=tta_cfg)
train_dataset = dict(pipeline=train_pipeline)
train_dataloader = dict(dataset=train_dataset)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
