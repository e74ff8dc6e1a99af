# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .pi import PiTeacher

__all__ = ['PiTeacher']
