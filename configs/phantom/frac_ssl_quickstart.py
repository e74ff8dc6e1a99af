# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_ssl_quickstart.py
# What tools/quickstart.sh trains: frac_ssl_phantom.py cut to a third of its cost, 3 to 4 minutes on 2
# cores. Batches hold more P_hos, and the learning rate is higher, after a warm-up, so that it learns
# something in so few steps.
_base_ = 'frac_ssl_phantom.py'
burn_in_epochs, max_epochs = 4, 8
model = dict(semi_train_cfg=dict(burn_in_epochs=burn_in_epochs))
train_dataloader = dict(batch_size=12, batch_sampler=dict(source_ratio=[3, 1, 2], epoch_length=40))
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(_base_.param_scheduler[0], end=max_epochs),
]
