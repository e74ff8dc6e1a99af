# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real_v2_quarter.py --data-root FOLDER
# frac_ssl_semi_real_v2.py with a quarter of the boxes; the other P_hos films become P_pub.
_base_ = 'frac_ssl_semi_real_v2.py'
from mmfrac.utils.config import set_label_fraction

set_label_fraction(_base_, 0.25)
