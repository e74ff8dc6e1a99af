# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/ablations/constant_a4_t02.py 4
# Constant sharpening, a = 4 and t = 0.2 (paper, Table 2).
_base_ = '../frac_ssl.py'
sharpening = dict(type='ConstantSharpening', a=4, t=0.2)
model = dict(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])
