# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Supervised training that reads the hidden boxes of P_pub too (annotations/train_truth.json): what the
# semi-supervised methods could reach at best. For sets whose truth is known.
hos, *others = _base_.train_dataloader.dataset.datasets
truth = dict(hos, ann_file='annotations/train_truth.json', complete_boxes=True)
# all boxes, also over a config that trains with a share of them
truth.pop('label_fraction', None)
train_dataloader = dict(dataset=dict(datasets=[truth, *others]))
model = dict(semi_train_cfg=dict(burn_in_epochs='all'))
