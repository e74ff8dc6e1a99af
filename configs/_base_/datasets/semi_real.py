# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Real films with synthetic fractures at 384 x 384, supervised.
_base_ = 'cxr.py'
from mmfrac.config import set_data_root, set_img_scale

set_img_scale(_base_, (384, 384))
set_data_root(_base_, 'data/semi_real/')
