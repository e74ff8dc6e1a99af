# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_ssl_phantom_v2.py
# Semi-supervised stage of the benchmark phantom-v2, 160 x 160; configs/benchmarks/phantom_v2.py says
# which supervised model it goes on from.
_base_ = [
    '../_base_/models/semi_prob_map_r18_small.py',
    '../_base_/datasets/small_semi.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
from mmfrac.utils.config import merge_config_file
from mmfrac.utils.config import set_data_root
from mmfrac.utils.config import set_img_scale

set_data_root(_base_, 'data/phantom_v2/')
set_img_scale(_base_, (160, 160))
merge_config_file(_base_, '../_base_/stages/pseudo_truth.py')
model = dict(
    detector=dict(prob_map_head=dict(loss=dict(alpha_r=2.0))), semi_train_cfg=dict(burn_in_epochs=0)
)
train_cfg = dict(max_epochs=10)
train_dataloader = dict(batch_size=8, batch_sampler=dict(source_ratio=[1, 3, 4], epoch_length=60))
val_dataloader = dict(batch_size=8)
test_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', end=10, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
