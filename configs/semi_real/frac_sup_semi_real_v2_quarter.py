# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_sup_semi_real_v2_quarter.py --data-root FOLDER
# frac_sup_semi_real_v2.py with a quarter of the boxes.
_base_ = 'frac_sup_semi_real_v2.py'
from mmfrac.utils.config import set_label_fraction

set_label_fraction(_base_, 0.25)
