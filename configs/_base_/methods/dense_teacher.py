# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dense Teacher (arXiv 2207.02541): the averaged weights teach the highest 1 % of the cells, the next
# 1 % count in no loss, the rest is background; quality focal loss.
model = dict(
    teacher=dict(_delete_=True, type='MeanTeacher', max_decay=0.999),
    pseudo_pipeline=[dict(type='TopCells', learnt=0.01, ignored=0.01), dict(type='WarpToStudent')],
    semi_loss=dict(_delete_=True, type='SoftFocalLoss', a0=1.0, a1=1.0, b=2.0),
)
