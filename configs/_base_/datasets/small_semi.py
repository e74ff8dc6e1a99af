# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# P_hos : N : P_pub = 1 : 1 : 2 in every batch of 16 at 256 x 256, for a small net on a CPU.
_base_ = 'cxr_semi.py'
from mmfrac.utils.config import set_img_scale

set_img_scale(_base_, (256, 256))
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    batch_sampler=dict(source_ratio=[1, 1, 2], epoch_length=50),
    dataset=dict(
        datasets=[
            dict(_base_.sup_dataset, subset='P_hos'),
            dict(_base_.sup_dataset, subset='N'),
            _base_.unsup_dataset,
        ]
    ),
)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
