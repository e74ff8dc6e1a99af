# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Makes the plain detector of a config the student of teacher-student training (paper, section 2.2).
detector = _base_.model
model = dict(
    _delete_=True,
    type='SemiProbMapDetector',
    detector=detector,
    data_preprocessor=dict(
        type='SemiDataPreprocessor', data_preprocessor=detector.data_preprocessor
    ),
    teacher=dict(type='PiTeacher'),
    pseudo_pipeline=[dict(type='DynamicSharpening'), dict(type='WarpToStudent')],
    semi_loss=dict(type='KLDLoss'),
    semi_train_cfg=dict(burn_in_epochs=10, sup_weight=1.0, unsup_weight=1.0),
)
