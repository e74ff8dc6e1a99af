# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/data/subsets.py 4
# Supervised training on films with boxes alone: what the negatives are worth.
_base_ = '../frac_sup.py'
train_dataloader = dict(dataset=dict(subset='P_hos'))
