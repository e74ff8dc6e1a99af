# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening whose m is the lowest decile of the scores of the positive films in place of their
# median, so that nine of ten known positives keep a peak. Not in the paper.
model = dict(
    pseudo_pipeline=[dict(type='DynamicSharpening', quantile=0.1), dict(type='WarpToStudent')]
)
