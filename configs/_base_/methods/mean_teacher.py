# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Mean Teacher [10] under L_semi of the paper (KLD): the map of the averaged weights without sharpening.
# T = 30 ramp-up epochs in the original, here 5 semi-supervised epochs.
model = dict(
    teacher=dict(_delete_=True, type='MeanTeacher', max_decay=0.999),
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_train_cfg=dict(ramp_up_epochs=5),
)
