# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening whose centre is read off a mixture of two Gaussians (Consistent-Teacher, arXiv
# 2209.01589) in place of the median.
model = dict(
    pseudo_pipeline=[dict(type='MixtureSharpening'), dict(type='WarpToStudent')],
)
