# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/train.py configs/compare/phantom/faster_rcnn_burn_in.py
# Faster R-CNN that SoftTeacher goes on from: half of the steps of faster_rcnn.py.
_base_ = 'faster_rcnn.py'
max_epochs = 7
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_epochs)]
