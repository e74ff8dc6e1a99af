# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# aals.py with the teacher of certain_cells_two_views.py: what the two views give without the rest.
sharpening = dict(type='AdaptiveAsymmetricSharpening', a0=4.0, t=0.4)
model = dict(
    teacher=dict(_delete_=True, type='AugmentedTeacher', views=('none', 'horizontal')),
    pseudo_pipeline=[sharpening, dict(type='WarpToStudent')],
)
