# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Supervised films (P_hos and all negatives) beside P_pub, half of each batch.
_base_ = 'cxr.py'
sup_dataset = dict(_base_.train_dataset, pipeline=_base_.sup_pipeline)
unsup_dataset = dict(_base_.train_dataset, subset='P_pub', pipeline=_base_.unsup_pipeline)
train_dataloader = dict(
    batch_sampler=dict(type='MultiSourceBatchSampler', source_ratio=[1, 1]),
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[sup_dataset, unsup_dataset]),
)
