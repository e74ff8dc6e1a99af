# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Box films and negatives beside P_pub, half of each batch, for SoftTeacher and Consistent-Teacher. Their
# student sees P_pub in the strong view of their authors (mmdet's semi_coco_detection.py), intensities in
# the terms of a radiograph.
_base_ = 'cxr_boxes.py'
geometric = [
    [dict(type=name, img_border_value=0.0)]
    for name in ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY')
]
strong = [
    dict(type='StrongIntensity'),
    _base_.pad,
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandAugment', aug_space=geometric, aug_num=1),
    dict(type='RandomErasing', n_patches=(1, 5), ratio=(0, 0.2), img_border_value=0.0),
]
branches = dict(type='MultiBranch', branch_field=_base_.branch_field)
sup_pipeline = [*_base_.load, *_base_.augment, dict(branches, sup=_base_.pack)]
unsup_pipeline = [
    *_base_.load,
    dict(
        branches,
        unsup_teacher=[_base_.pad, *_base_.pack],
        unsup_student=[*strong, *_base_.pack],
    ),
]
sup_dataset = dict(_base_.train_dataset, pipeline=sup_pipeline)
unsup_dataset = dict(_base_.train_dataset, subset='P_pub', pipeline=unsup_pipeline)
train_dataloader = dict(
    batch_sampler=dict(type='MultiSourceBatchSampler', source_ratio=[1, 1]),
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[sup_dataset, unsup_dataset]),
)
