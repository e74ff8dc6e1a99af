# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Expected L_sup of P_pub given the label, under the supervised model: maps of the student as burn-in
# left it, mean of two views, made so sure that positive images have as many fracture cells in the mean
# as those with boxes, and divided by the probability of a lesion anywhere. Not in the paper.
model = dict(
    teacher=dict(
        _delete_=True,
        type='AugmentedTeacher',
        teacher=dict(type='SnapshotTeacher'),
        views=('none', 'horizontal'),
    ),
    pseudo_pipeline=[
        dict(type='NoisyOrPosterior', teacher_alpha_r='match'),
        dict(type='WarpToStudent'),
    ],
)
