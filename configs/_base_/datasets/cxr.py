# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Chest films in the format of the README's data section, padded to square and resized to 1024 x 1024
# (paper, section 2.4). Supervised training reads P_hos and all negatives.
dataset_type = 'CXRDataset'
data_root = 'data/cxr/'
img_scale = (1024, 1024)

resize = dict(type='Resize', scale=img_scale, keep_ratio=True)
pad = dict(type='PadRadiograph', size=img_scale)
load = [dict(type='LoadRadiograph'), dict(type='LoadAnnotations', with_bbox=True), resize]
augment = [
    dict(type='IntensityJitter', brightness=0.1, contrast=0.2),
    pad,
    dict(type='RandomFlip', prob=0.5),
    dict(type='Rotate', prob=0.8, max_mag=15.0, img_border_value=0.0),
]
pack = [dict(type='ProbMapTarget'), dict(type='PackProbMapInputs')]
branch_field = ['sup', 'unsup_teacher', 'unsup_student']

train_pipeline = [*load, *augment, *pack]
sup_pipeline = [
    *load,
    *augment,
    dict(type='MultiBranch', branch_field=branch_field, sup=pack),
]
unsup_pipeline = [
    *load,
    dict(
        type='MultiBranch',
        branch_field=branch_field,
        unsup_teacher=[pad, *pack],
        unsup_student=[*augment, *pack],
    ),
]
# the metric and mmdet's own read the boxes from the film's info
test_pipeline = [dict(type='LoadRadiograph'), resize, pad, dict(type='PackProbMapInputs')]
# tools/test.py --tta
views = [
    [dict(type='Resize', scale=scale, keep_ratio=True) for scale in (img_scale, (1280, 1280))],
    [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
    [dict(type='Pad', pad_to_square=True)],
    [dict(type='PackProbMapInputs')],
]
tta_pipeline = [dict(type='LoadRadiograph'), dict(type='TestTimeAug', transforms=views)]
tta_model = dict(type='ProbMapTTAModel')

train_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    subset=('P_hos', 'N'),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    worker_init_fn=dict(type='seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=train_dataset,
)
evaluation_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    data_prefix=dict(img='images/'),
    test_mode=True,
    pipeline=test_pipeline,
)
evaluation_dataloader = dict(
    batch_size=1,
    num_workers=2,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_dataloader = dict(
    evaluation_dataloader, dataset=dict(evaluation_dataset, ann_file='annotations/val.json')
)
test_dataloader = dict(
    evaluation_dataloader, dataset=dict(evaluation_dataset, ann_file='annotations/test.json')
)
# the curve up to 8 false positives a film, so that little is gathered between ranks
val_evaluator = dict(type='FracMetric', max_fppi=8.0)
test_evaluator = val_evaluator
