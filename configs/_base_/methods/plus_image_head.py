# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Pseudo maps that use the label (plus.py) beside an image head: configs/frac_ssl_plus.py. Not in the
# paper.
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, 'plus.py')
merge_config_file(_base_, 'image_head.py')
