# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_sup_phantom.py
# Supervised training with as many steps as frac_ssl_phantom.py: burn-in that never ends.
_base_ = 'frac_ssl_phantom.py'
model = dict(semi_train_cfg=dict(burn_in_epochs='all'))
