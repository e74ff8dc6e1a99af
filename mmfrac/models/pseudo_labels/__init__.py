# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .asymmetric_sharpening import AdaptiveAsymmetricSharpening, asymmetric_sharpen
from .constant_sharpening import ConstantSharpening
from .sharpening import DynamicSharpening, dynamic_sharpen, sharpening_parameters
from .temperature_sharpening import TemperatureSharpening, temperature_sharpen
from .warp import WarpToStudent, warp_map

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'ConstantSharpening',
    'DynamicSharpening',
    'TemperatureSharpening',
    'WarpToStudent',
    'asymmetric_sharpen',
    'dynamic_sharpen',
    'sharpening_parameters',
    'temperature_sharpen',
    'warp_map',
]
