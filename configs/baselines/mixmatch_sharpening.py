# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/baselines/mixmatch_sharpening.py 4
# Temperature sharpening of MixMatch [11] in its binary form, T = 0.5, in place of dynamic sharpening.
_base_ = '../frac_ssl.py'
sharpening = dict(type='TemperatureSharpening', temperature=0.5)
model = dict(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])
