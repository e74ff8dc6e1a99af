# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Adam 4e-5, weight decay 1e-4, 30 epochs, total batch 32 (paper, section 2.4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=4e-5, weight_decay=1e-4))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=32)
