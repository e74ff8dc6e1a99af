# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real_v1.py --data-root FOLDER
# Semi-supervised stage of the benchmark semi-real-v1, 192 x 192; configs/benchmarks/semi_real_v1.py says
# which supervised model it goes on from.
_base_ = '../phantom/frac_ssl_phantom_v2.py'
from mmfrac.config import set_data_root, set_img_scale

set_data_root(_base_, 'data/semi_real/')
set_img_scale(_base_, (192, 192))
model = dict(detector=dict(channels_last=True))
