# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/compare/faster_rcnn.py 4
# Faster R-CNN (mmdet) on P_hos and N: the films, augmentation, epochs and batch of frac_sup.py.
_base_ = [
    '../_base_/models/boxes/faster_rcnn.py',
    '../_base_/datasets/cxr_boxes.py',
    '../_base_/schedules/sgd_30e.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=0.04))
