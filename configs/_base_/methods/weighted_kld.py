# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening; fracture cells of the pseudo map weigh alpha_r, that of L_sup. Not in the paper.
model = dict(semi_loss=dict(type='KLDLoss', alpha_r='auto'))
