# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Transformation-consistent self-ensembling [6]: Mean Teacher with its squared error; the teacher's map
# follows flips and rotations of the student's view.
model = dict(
    teacher=dict(_delete_=True, type='MeanTeacher', max_decay=0.999),
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_loss=dict(_delete_=True, type='MapMSELoss'),
    semi_train_cfg=dict(ramp_up_epochs=5),
)
