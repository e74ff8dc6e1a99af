# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Expected L_sup of P_pub given the label: probabilities of the averaged teacher, mean of an image's and
# its mirror image's, divided by that of a lesion anywhere. Not in the paper.
model = dict(
    teacher=dict(
        _delete_=True,
        type='AugmentedTeacher',
        teacher=dict(type='MeanTeacher', max_decay=0.999),
        views=('none', 'horizontal'),
    ),
    pseudo_pipeline=[
        dict(type='NoisyOrPosterior'),
        dict(type='WarpToStudent'),
    ],
)
