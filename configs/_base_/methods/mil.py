# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening beside the label as a loss: a positive film has a lesion somewhere. Not in the
# paper.
model = dict(
    semi_loss=[dict(type='KLDLoss'), dict(type='MILLoss', pool='top_k', k=10, loss_weight=0.1)],
)
