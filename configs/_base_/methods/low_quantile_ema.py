# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# The lowest decile of low_quantile.py, with the averaged weights of Mean Teacher [10] as the teacher.
# Not in the paper.
model = dict(
    teacher=dict(_delete_=True, type='MeanTeacher', max_decay=0.999),
    pseudo_pipeline=[dict(type='DynamicSharpening', quantile=0.1), dict(type='WarpToStudent')],
)
