# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/baselines/pi_model.py 4
# Pi-model [9]: the student's own map without sharpening as target, squared error. T = 30 ramp-up epochs
# in the original, here 5 of the 20 semi-supervised epochs.
_base_ = '../frac_ssl.py'
model = dict(
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_loss=dict(type='MapMSELoss'),
    semi_train_cfg=dict(ramp_up_epochs=5),
)
