# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/data/label_fraction_10.py 4
# 10 % of the boxes of configs/frac_ssl.py, by patient; the other P_hos films become P_pub.
_base_ = '../frac_ssl.py'
from mmfrac.utils.config import set_label_fraction

set_label_fraction(_base_, 0.10, seed=0)
