# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/ablations/image_head.py 4
_base_ = '../frac_ssl.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, '../_base_/methods/image_head.py')
