# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/baselines/mean_teacher.py 4
# Mean Teacher [10] under L_semi of the paper (KLD): the map of the averaged weights without sharpening.
# T = 30 ramp-up epochs in the original, here 5 of the 20 semi-supervised epochs.
_base_ = '../frac_ssl.py'
model = dict(
    teacher=dict(type='MeanTeacher', max_decay=0.999),
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_train_cfg=dict(ramp_up_epochs=5),
)
