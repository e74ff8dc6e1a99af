# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Teachers: whatever forms the map that the student learns from.

``BaseTeacher`` says what a teacher is told and when. May import ``models`` beside it and ``utils``.
"""

from mmfrac.models.teachers.augmented import AugmentedTeacher
from mmfrac.models.teachers.base import BaseTeacher, WrappingTeacher
from mmfrac.models.teachers.frozen import FrozenTeacher
from mmfrac.models.teachers.mean_teacher import MeanTeacher
from mmfrac.models.teachers.pi import PiTeacher
from mmfrac.models.teachers.snapshot import SnapshotTeacher
from mmfrac.models.teachers.temporal_ensemble.teacher import TemporalEnsembleTeacher

__all__ = [
    'AugmentedTeacher',
    'BaseTeacher',
    'FrozenTeacher',
    'MeanTeacher',
    'PiTeacher',
    'SnapshotTeacher',
    'TemporalEnsembleTeacher',
    'WrappingTeacher',
]
