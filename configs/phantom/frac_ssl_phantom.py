# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_ssl_phantom.py
# Phantom films of tools/quickstart.sh, 256 x 256: 4 to 11 minutes on 2 cores.
_base_ = [
    '../_base_/models/semi_prob_map_r18_small.py',
    '../_base_/datasets/small_semi.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom/')
burn_in_epochs, max_epochs = 8, 14
model = dict(semi_train_cfg=dict(burn_in_epochs=burn_in_epochs))
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
