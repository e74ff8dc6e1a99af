# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/data/sources.py 4
# L_sup on films of the source `hospital` alone, as in the paper's section 2.1; P_pub of all sources.
_base_ = '../frac_ssl.py'
train_dataloader = dict(
    dataset=dict(datasets=[dict(_base_.sup_dataset, sources='hospital'), _base_.unsup_dataset])
)
