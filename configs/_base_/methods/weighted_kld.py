# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening with fracture cells of the pseudo map weighted as in L_sup, by alpha_r. Not in the
# paper.
alpha_r = _base_.model.detector.prob_map_head.loss.alpha_r
model = dict(semi_loss=dict(type='KLDLoss', alpha_r=alpha_r))
