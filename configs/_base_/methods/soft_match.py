# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# SoftMatch (arXiv 2301.10921): a cell weighs less the further its confidence is below the mean.
model = dict(
    pseudo_pipeline=[dict(type='SoftMatchWeight'), dict(type='WarpToStudent')],
)
