# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Box films and negatives beside P_pub, half of each batch, for mmdet's SoftTeacher.
_base_ = 'cxr_boxes.py'
branches = dict(type='MultiBranch', branch_field=_base_.branch_field)
sup_pipeline = [*_base_.load, *_base_.augment, dict(branches, sup=_base_.pack)]
unsup_pipeline = [
    *_base_.load,
    dict(
        branches,
        unsup_teacher=[_base_.pad, *_base_.pack],
        unsup_student=[*_base_.augment, *_base_.pack],
    ),
]
sup_dataset = dict(_base_.train_dataset, pipeline=sup_pipeline)
unsup_dataset = dict(_base_.train_dataset, subset='P_pub', pipeline=unsup_pipeline)
train_dataloader = dict(
    batch_sampler=dict(type='MultiSourceBatchSampler', source_ratio=[1, 1]),
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[sup_dataset, unsup_dataset]),
)
