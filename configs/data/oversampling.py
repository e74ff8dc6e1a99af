# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/data/oversampling.py 4
# Supervised training in which every batch is one half P_hos, one half N, whatever their numbers; an
# epoch reads every film once at least. alpha_l = 'auto' counts films as they are read.
_base_ = '../frac_sup.py'
films = dict(_base_.train_dataset)
p_hos, negatives = dict(films, subset='P_hos'), dict(films, subset='N')
train_dataloader = dict(
    batch_sampler=dict(type='MultiSourceBatchSampler', source_ratio=[1, 1], unsup_sources=[]),
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[p_hos, negatives]),
)
