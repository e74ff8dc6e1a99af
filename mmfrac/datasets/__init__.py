# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .cxr_dataset import CXRDataset
from .samplers import MultiSourceBatchSampler
from .transforms import IntensityJitter, LoadRadiograph, PackProbMapInputs, ProbMapTarget

__all__ = [
    'CXRDataset',
    'IntensityJitter',
    'LoadRadiograph',
    'MultiSourceBatchSampler',
    'PackProbMapInputs',
    'ProbMapTarget',
]
