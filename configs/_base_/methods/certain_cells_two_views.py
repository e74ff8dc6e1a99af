# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# certain_cells.py, where the teacher's map is the mean of the film's and of its mirror image's. Not in
# the paper.
model = dict(
    teacher=dict(_delete_=True, type='AugmentedTeacher', views=('none', 'horizontal')),
    pseudo_pipeline=[
        dict(type='DynamicSharpening', quantile=0.1, low=0.05),
        dict(type='WarpToStudent'),
    ],
)
