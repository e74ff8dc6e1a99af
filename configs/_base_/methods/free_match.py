# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# FreeMatch (arXiv 2205.07246): cells above the moving average of the image scores are fracture, the
# others stay what the teacher says.
model = dict(
    pseudo_pipeline=[dict(type='AdaptiveThreshold'), dict(type='WarpToStudent')],
)
