# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .asymmetric_sharpening import AdaptiveAsymmetricSharpening, asymmetric_sharpen
from .constant_sharpening import ConstantSharpening
from .known_positive import KnownPositive, lift_maximum
from .sharpening import DynamicSharpening, dynamic_sharpen, sharpening_parameters
from .temperature_sharpening import TemperatureSharpening, temperature_sharpen
from .uncertain_cells import uncertain_cells
from .warp import WarpToStudent, warp_map

__all__ = [
    'AdaptiveAsymmetricSharpening',
    'ConstantSharpening',
    'DynamicSharpening',
    'KnownPositive',
    'TemperatureSharpening',
    'WarpToStudent',
    'asymmetric_sharpen',
    'dynamic_sharpen',
    'lift_maximum',
    'sharpening_parameters',
    'temperature_sharpen',
    'uncertain_cells',
    'warp_map',
]
