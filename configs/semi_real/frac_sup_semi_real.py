# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_sup_semi_real.py --data-root FOLDER
# Supervised training with as many steps as frac_ssl_semi_real.py: burn-in that never ends.
_base_ = 'frac_ssl_semi_real.py'
model = dict(semi_train_cfg=dict(burn_in_epochs='all'))
