# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_sup_semi_real_v1.py --data-root FOLDER
# Supervised model that the methods of the benchmark semi-real-v1 go on from: burn-in that never ends, on
# batches of 8 P_hos and 8 negative films.
_base_ = 'frac_ssl_semi_real_v1.py'
from mmfrac.utils.config import merge_config_file

_base_.train_cfg['max_epochs'] = 5
merge_config_file(_base_, '../_base_/stages/burn_in.py')
train_dataloader = dict(batch_sampler=dict(epoch_length=200))
optim_wrapper = dict(optimizer=dict(lr=4e-3))
