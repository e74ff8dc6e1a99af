# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/compare/soft_teacher.py 4
# SoftTeacher (mmdet): P_pub without its labels beside P_hos and N, half of each batch.
_base_ = [
    '../_base_/models/boxes/soft_teacher.py',
    '../_base_/datasets/cxr_boxes_semi.py',
    '../_base_/schedules/sgd_30e.py',
    '../_base_/default_runtime.py',
]
default_hooks = _base_.teacher_hooks
