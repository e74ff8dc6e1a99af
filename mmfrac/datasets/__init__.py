# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What training reads: the data set, its samplers, and its annotation files.

``labels`` has the rule for labels and regions, ``coco_checks`` everything that can be wrong with an
annotation file. May import ``models`` and ``utils``.
"""

from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.datasets.samplers import MultiSourceBatchSampler
from mmfrac.datasets.transforms import (
    CachedRadiograph,
    IntensityJitter,
    LoadRadiograph,
    PackProbMapInputs,
    PadRadiograph,
    ProbMapTarget,
    StrongIntensity,
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
    'StrongIntensity',
    'WindowTarget',
]
