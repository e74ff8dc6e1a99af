# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/ablations/plus.py 4
# frac_ssl_plus.py without its image head.
_base_ = '../frac_ssl.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, '../_base_/methods/plus.py')
# peaks are as far apart as on the maps of 80 x 80 that it was tried on; this one is of 256 x 256
model = dict(pseudo_pipeline=[dict(type='NoisyOrPosterior', window=17), dict(type='WarpToStudent')])
