# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.datasets.samplers import MultiSourceBatchSampler
from mmfrac.datasets.transforms import (
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
