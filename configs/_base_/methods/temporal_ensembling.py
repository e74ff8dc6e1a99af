# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Temporal Ensembling [9]: the average of a film's maps in earlier epochs as target, squared error (the
# paper's L_semi: semi_loss=dict(_delete_=True, type='KLDLoss')). T = 80 ramp-up epochs in the original,
# here 5 semi-supervised epochs.
model = dict(
    teacher=dict(_delete_=True, type='TemporalEnsembleTeacher', decay=0.6),
    pseudo_pipeline=[dict(type='WarpToStudent')],
    semi_loss=dict(_delete_=True, type='MapMSELoss'),
    semi_train_cfg=dict(ramp_up_epochs=5),
)
