# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_sup_semi_real_v2.py --data-root FOLDER
# Supervised model that the methods of the benchmark semi-real-v2 go on from: burn-in that never ends,
# 500 steps of 4 P_hos and 4 negatives.
_base_ = 'frac_ssl_semi_real_v2.py'
from mmfrac.utils.config import merge_config_file

_base_.train_cfg.update(max_epochs=10, val_interval=5)
merge_config_file(_base_, '../_base_/stages/burn_in.py')
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
