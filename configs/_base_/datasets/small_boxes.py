# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# P_hos : N = 1 : 1 in every batch of 16 at 256 x 256, as in the burn-in of small_semi.py.
_base_ = 'cxr_boxes.py'
from mmfrac.utils.config import set_img_scale

set_img_scale(_base_, (256, 256))
sources = [dict(_base_.train_dataset, subset=subset) for subset in ('P_hos', 'N')]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    batch_sampler=dict(type='MultiSourceBatchSampler', source_ratio=[1, 1], epoch_length=50),
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=sources),
)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
