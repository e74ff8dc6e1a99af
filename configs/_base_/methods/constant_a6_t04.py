# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Constant sharpening, a = 6 and t = 0.4 (paper, Table 2).
sharpening = dict(type='ConstantSharpening', a=6, t=0.4)
model = dict(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])
