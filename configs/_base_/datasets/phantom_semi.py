# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Phantom films (tools/make_phantom.py) at 256 x 256.
_base_ = 'cxr_semi.py'
from mmfrac.config import set_data_root, set_img_scale

set_img_scale(_base_, (256, 256))
set_data_root(_base_, 'data/phantom/')
