# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening of cells that weigh by the confidence of the teacher (SoftMatch). Not in the
# paper.
model = dict(
    pseudo_pipeline=[
        dict(type='SoftMatchWeight'),
        dict(type='DynamicSharpening'),
        dict(type='WarpToStudent'),
    ],
)
