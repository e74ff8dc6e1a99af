# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/frac_sup.py 4
# Supervised pre-training on P_hos and all negatives (paper, section 2.1): Adam 4e-5, 30 epochs,
# 1024 x 1024, total batch 32.
_base_ = [
    '_base_/models/prob_map_r50_fpn.py',
    '_base_/datasets/cxr.py',
    '_base_/schedules/adam_30e.py',
    '_base_/default_runtime.py',
]
