# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/baselines/transformation_consistent.py 4
# Transformation-consistent self-ensembling [6]: Mean Teacher with its squared error; the teacher's map
# follows flips and rotations of the student's view.
_base_ = 'mean_teacher.py'
model = dict(semi_loss=dict(type='MapMSELoss', _delete_=True))
