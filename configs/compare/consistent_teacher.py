# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/compare/consistent_teacher.py 4
# Consistent-Teacher: P_pub without its labels beside P_hos and N, half of each batch after two epochs
# of burn-in.
_base_ = [
    '../_base_/models/boxes/consistent_teacher.py',
    '../_base_/datasets/cxr_boxes_semi.py',
    '../_base_/schedules/sgd_30e.py',
    '../_base_/default_runtime.py',
]
default_hooks = _base_.teacher_hooks
