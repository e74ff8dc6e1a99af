# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/phantom/frac_sup_phantom_v1.py
# Supervised model that the methods of the benchmark phantom-v1 go on from: burn-in that never ends, on
# batches of 4 P_hos and 12 negative films.
_base_ = 'frac_ssl_phantom_v1.py'
from mmfrac.utils.config import merge_config_file

_base_.train_cfg['max_epochs'] = 9
merge_config_file(_base_, '../_base_/stages/burn_in.py')
train_dataloader = dict(batch_sampler=dict(epoch_length=100))
