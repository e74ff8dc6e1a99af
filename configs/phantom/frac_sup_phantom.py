# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/train.py configs/phantom/frac_sup_phantom.py
_base_ = [
    '../_base_/models/prob_map_r18_small.py',
    '../_base_/datasets/phantom.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
