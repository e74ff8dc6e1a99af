# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Temperature sharpening of MixMatch [11] in its binary form, T = 0.5, in place of dynamic sharpening.
sharpening = dict(type='TemperatureSharpening', temperature=0.5)
model = dict(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])
