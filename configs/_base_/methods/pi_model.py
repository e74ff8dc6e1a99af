# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Pi-model [9]: the student's own map without sharpening as target, squared error. T = 80 ramp-up epochs
# in the original, here 5 semi-supervised epochs.
model = dict(
    teacher=dict(_delete_=True, type='PiTeacher'),
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_loss=dict(_delete_=True, type='MapMSELoss'),
    semi_train_cfg=dict(ramp_up_epochs=5),
)
