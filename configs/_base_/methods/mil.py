# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening beside the label as a loss: a positive film has a lesion somewhere. Not in the
# paper.
semi_loss = _base_.model.semi_loss
others = [semi_loss] if isinstance(semi_loss, dict) else list(semi_loss)
model = dict(semi_loss=[*others, dict(type='MILLoss', pool='top_k', k=10, loss_weight=0.1)])
