# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# The lowest decile of low_quantile.py, without the cells that the teacher is unsure of: above 0.05 and
# up to t they are neither fracture nor normal, and count in no L_semi. Not in the paper.
model = dict(
    pseudo_pipeline=[
        dict(type='DynamicSharpening', quantile=0.1, low=0.05),
        dict(type='WarpToStudent'),
    ],
)
