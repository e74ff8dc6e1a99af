# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real_v2.py --data-root FOLDER
# Semi-supervised stage of the benchmark semi-real-v2, 320 x 320, from ImageNet weights: 4 P_hos, 4
# negatives and 4 P_pub a step. configs/benchmarks/semi_real_v2.py says which supervised model it goes on
# from.
_base_ = [
    '../_base_/models/semi_prob_map_lite0.py',
    '../_base_/datasets/small_semi.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
from mmfrac.utils.config import merge_config_file
from mmfrac.utils.config import set_data_root
from mmfrac.utils.config import set_img_scale

set_data_root(_base_, 'data/semi_real/')
set_img_scale(_base_, (320, 320))
merge_config_file(_base_, '../_base_/stages/pseudo_truth.py')
max_epochs = 6
model = dict(semi_train_cfg=dict(burn_in_epochs=0))
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
train_dataloader = dict(batch_size=12, batch_sampler=dict(source_ratio=[1, 1, 1], epoch_length=50))
val_dataloader = dict(batch_size=8)
test_dataloader = dict(batch_size=8)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5)))
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
