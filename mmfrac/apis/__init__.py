# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmfrac.apis.inferencer import FracInferencer

__all__ = ['FracInferencer']
