# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .augmented import AugmentedTeacher
from .base import BaseTeacher
from .mean_teacher import MeanTeacher
from .pi import PiTeacher
from .temporal_ensemble import TemporalEnsembleTeacher

__all__ = [
    'AugmentedTeacher',
    'BaseTeacher',
    'MeanTeacher',
    'PiTeacher',
    'TemporalEnsembleTeacher',
]
