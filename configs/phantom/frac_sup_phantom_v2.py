# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_sup_phantom_v2.py
# Supervised model that the methods of the benchmark phantom-v2 go on from: burn-in that never ends, on
# batches of 4 P_hos and 12 negative films.
_base_ = 'frac_ssl_phantom_v2.py'
max_epochs = 6
model = dict(semi_train_cfg=dict(burn_in_epochs=max_epochs))
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_size=16, batch_sampler=dict(epoch_length=100))
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
