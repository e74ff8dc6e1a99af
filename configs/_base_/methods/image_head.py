# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening beside an image head: the labels of all images as a second task of the same
# features. Over other methods, too. Not in the paper.
model = dict(
    detector=dict(
        image_head=dict(type='ImageHead', in_channels=_base_.model.detector.neck.out_channels)
    )
)
