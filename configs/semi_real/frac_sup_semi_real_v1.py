# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_sup_semi_real_v1.py --data-root FOLDER
# Supervised model that the methods of the benchmark semi-real-v1 go on from, on batches of 8 P_hos and 8
# negative films.
_base_ = '../phantom/frac_sup_phantom_v2.py'
from mmfrac.config import set_data_root, set_img_scale

set_data_root(_base_, 'data/semi_real/')
set_img_scale(_base_, (256, 256))
max_epochs = 5
model = dict(
    detector=dict(channels_last=True, prob_map_head=dict(loss=dict(alpha_r=5.0))),
    semi_train_cfg=dict(burn_in_epochs=max_epochs),
)
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_sampler=dict(source_ratio=[1, 1, 2], epoch_length=200))
optim_wrapper = dict(optimizer=dict(lr=4e-3))
_base_.param_scheduler[1]['end'] = max_epochs
