# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .base import BaseTeacher
from .mean_teacher import MeanTeacher
from .pi import PiTeacher

__all__ = ['BaseTeacher', 'MeanTeacher', 'PiTeacher']
