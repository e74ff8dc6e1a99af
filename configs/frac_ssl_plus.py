# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/frac_ssl_plus.py 4
# Ours, not the paper's: frac_ssl.py with pseudo maps that use the label in place of sharpening, of an
# averaged teacher that sees an image and its mirror image, and with the labels of all images as a second
# task of the same features.
_base_ = 'frac_ssl.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, '_base_/methods/plus_image_head.py')
# peaks are as far apart as on the maps of 80 x 80 that it was tried on; this one is of 256 x 256
model = dict(pseudo_pipeline=[dict(type='NoisyOrPosterior', window=17), dict(type='WarpToStudent')])
