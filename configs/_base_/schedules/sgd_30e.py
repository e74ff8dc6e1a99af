# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# mmdet's schedule of box detectors for the paper's 30 epochs and total batch 32: SGD, 0.02 by the linear
# rule from 0.01 at 16, warm-up, two steps.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', end=30, by_epoch=True, milestones=[20, 27], gamma=0.1),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=32)
