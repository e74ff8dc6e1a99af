# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/train.py configs/phantom/frac_ssl_phantom.py
_base_ = [
    '../_base_/models/semi_prob_map_r18_small.py',
    '../_base_/datasets/phantom_semi.py',
    '../_base_/schedules/adam_30e.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
