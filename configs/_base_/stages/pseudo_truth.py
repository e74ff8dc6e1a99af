# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Pseudo maps are compared with the boxes of P_pub that train_truth.json has, after every epoch; they
# change nothing. Merged behind set_data_root and set_img_scale.
truth_pipeline = [
    *_base_.load,
    dict(
        type='MultiBranch',
        branch_field=_base_.branch_field,
        unsup_teacher=[_base_.pad, *_base_.pack],
    ),
]
truth_dataset = dict(
    _base_.unsup_dataset, ann_file='annotations/train_truth.json', pipeline=truth_pipeline
)
default_hooks = dict(pseudo_truth=dict(type='PseudoTruthHook', dataset=truth_dataset))
