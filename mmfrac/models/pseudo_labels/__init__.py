# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Steps from the teacher's map to the student's target: sharpening, warp, weights.

Each is a function of tensors and a module that configs name. May import ``models`` beside it and
``utils``.
"""

from mmfrac.models.pseudo_labels.adaptive_threshold import AdaptiveThreshold
from mmfrac.models.pseudo_labels.asymmetric_sharpening import (
    AdaptiveAsymmetricSharpening,
    asymmetric_sharpen,
)
from mmfrac.models.pseudo_labels.constant_sharpening import ConstantSharpening
from mmfrac.models.pseudo_labels.known_positive import KnownPositive, lift_maximum
from mmfrac.models.pseudo_labels.mixture_sharpening import MixtureSharpening
from mmfrac.models.pseudo_labels.noisy_or_posterior import NoisyOrPosterior, noisy_or
from mmfrac.models.pseudo_labels.sharpening import (
    DynamicSharpening,
    dynamic_sharpen,
    sharpening_parameters,
)
from mmfrac.models.pseudo_labels.softmatch_weight import SoftMatchWeight
from mmfrac.models.pseudo_labels.temperature_sharpening import (
    TemperatureSharpening,
    temperature_sharpen,
)
from mmfrac.models.pseudo_labels.top_cells import TopCells
from mmfrac.models.pseudo_labels.warp import WarpToStudent, warp_map

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'AdaptiveThreshold',
    'ConstantSharpening',
    'DynamicSharpening',
    'KnownPositive',
    'MixtureSharpening',
    'NoisyOrPosterior',
    'SoftMatchWeight',
    'TemperatureSharpening',
    'TopCells',
    'WarpToStudent',
    'asymmetric_sharpen',
    'dynamic_sharpen',
    'lift_maximum',
    'noisy_or',
    'sharpening_parameters',
    'temperature_sharpen',
    'warp_map',
]
