# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Adaptive asymmetric label sharpening [12], t = 0.4, in place of dynamic sharpening. a0 = 4 is
# unverified: our source does not state it.
sharpening = dict(type='AdaptiveAsymmetricSharpening', a0=4.0, t=0.4)
model = dict(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])
