# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .cxr_dataset import CXRDataset
from .samplers import MultiSourceBatchSampler
from .transforms import (
    CachedRadiograph,
    IntensityJitter,
    LoadRadiograph,
    PackProbMapInputs,
    PadRadiograph,
    ProbMapTarget,
    WindowTarget,
)

__all__ = [
    'CXRDataset',
    'CachedRadiograph',
    'IntensityJitter',
    'LoadRadiograph',
    'MultiSourceBatchSampler',
    'PackProbMapInputs',
    'PadRadiograph',
    'ProbMapTarget',
    'WindowTarget',
]
