# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real_v1.py --data-root FOLDER
# Semi-supervised stage of the benchmark semi-real-v1, 256 x 256; configs/benchmarks/semi_real_v1.py says
# which supervised model it goes on from.
_base_ = '../phantom/frac_ssl_phantom_v2.py'
from mmfrac.utils.config import set_data_root
from mmfrac.utils.config import set_img_scale

set_data_root(_base_, 'data/semi_real/')
set_img_scale(_base_, (256, 256))
max_epochs = 6
model = dict(
    detector=dict(channels_last=True, prob_map_head=dict(loss=dict(alpha_r=5.0))),
)
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_sampler=dict(source_ratio=[1, 1, 2], epoch_length=90))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
