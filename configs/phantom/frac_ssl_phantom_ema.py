# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_ssl_phantom_ema.py
# Validates, and keeps as state_dict, the moving average of the weights over some 100 steps (mmengine's
# EMAHook). The weights that are trained are in the checkpoint as ema_state_dict, for --resume; teacher
# and m, t, a are not averaged.
_base_ = 'frac_ssl_phantom.py'
default_hooks = dict(
    ema=dict(
        type='EMAHook',
        ema_type='PredictionEMA',
        momentum=0.01,
        update_buffers=True,
        priority=49,
    )
)
