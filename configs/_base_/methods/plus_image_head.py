# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# frac_ssl_plus.py beside an image head. Not in the paper.
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, 'plus.py')
merge_config_file(_base_, 'image_head.py')
