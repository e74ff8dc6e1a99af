# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_ssl_phantom_v2.py
# Semi-supervised stage of the benchmark phantom-v2, 160 x 160;
# configs/benchmarks/phantom_v2.py says which supervised model it goes on from.
_base_ = 'frac_ssl_phantom_v1.py'
from mmfrac.utils.config import set_data_root

set_data_root(_base_, 'data/phantom_v2/')
model = dict(detector=dict(prob_map_head=dict(loss=dict(alpha_r=2.0))))
train_cfg = dict(max_epochs=10)
train_dataloader = dict(batch_sampler=dict(epoch_length=60))
param_scheduler = [
    dict(type='CosineAnnealingLR', end=10, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
