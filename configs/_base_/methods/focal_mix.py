# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# FocalMix [8]: the mean of the student's own maps of flipped views, sharpened with T = 0.7, as target;
# soft focal loss; MixUp of films and targets. L_sup is that of the base.
model = dict(
    teacher=dict(_delete_=True, type='AugmentedTeacher', views=('none', 'horizontal')),
    pseudo_pipeline=[
        dict(type='TemperatureSharpening', temperature=0.7),
        dict(type='WarpToStudent'),
    ],
    semi_loss=dict(_delete_=True, type='SoftFocalLoss', a0=0.05, a1=0.95, b=2.0),
    batch_augments=[dict(type='MixUp', eta=0.2)],
)
