# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/semi_real/frac_ssl_semi_real_v2_fourfold.py --data-root FOLDER
# frac_ssl_semi_real_v2.py with four times as many boxes: three quarters of those that
# annotations/train_truth.json has; the other positive films stay P_pub.
_base_ = 'frac_ssl_semi_real_v2.py'
from mmfrac.utils.config import film_sets
from mmfrac.utils.config import set_label_fraction

for one in film_sets(_base_.train_dataloader):
    one.update(ann_file='annotations/train_truth.json', complete_boxes=True)
set_label_fraction(_base_, 0.75)
