# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real.py --data-root FOLDER
# 679 real chest films with synthetic fractures, 384 x 384: 23 minutes on 2 cores.
_base_ = [
    '../_base_/models/semi_prob_map_r18_small.py',
    '../_base_/datasets/small_semi.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
from mmfrac.utils.config import set_data_root
from mmfrac.utils.config import set_img_scale

set_data_root(_base_, 'data/semi_real/')
set_img_scale(_base_, (384, 384))
burn_in_epochs, max_epochs = 16, 26
model = dict(semi_train_cfg=dict(burn_in_epochs=burn_in_epochs))
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_sampler=dict(epoch_length=100))
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
