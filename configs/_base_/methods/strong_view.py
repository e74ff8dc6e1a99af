# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Dynamic sharpening with a strong view for the student: noise, blur, gamma, local contrast, and boxes
# erased where the pseudo map has no lesion. Not in the paper.
from mmfrac.utils.config import change_transform

pipelines = [source.pipeline for source in _base_.train_dataloader.dataset.datasets]
students = [steps for steps in pipelines if 'unsup_student' in steps[-1]]
change_transform(students, 'IntensityJitter', type='StrongIntensity', gamma=0.3)
model = dict(batch_augments=[dict(type='EraseBackground')])
