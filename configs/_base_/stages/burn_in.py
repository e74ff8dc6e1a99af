# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# A training that is burn-in to its end, on batches of 16 films: the supervised model that the methods of
# a benchmark go on from. Merged into a semi-supervised config, whose number of epochs stays.
max_epochs = _base_.train_cfg.max_epochs
model = dict(semi_train_cfg=dict(burn_in_epochs='all'))
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    # without it the narrow head can die in the first steps
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
