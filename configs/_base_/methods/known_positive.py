# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening that uses the label: a positive film keeps a peak of 0.5 at least. Not
# in the paper.
model = dict(
    pseudo_pipeline=[
        dict(type='DynamicSharpening'),
        dict(type='KnownPositive', floor=0.5),
        dict(type='WarpToStudent'),
    ]
)
