# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .sharpening import DynamicSharpening, dynamic_sharpen, sharpening_parameters
from .warp import WarpToStudent, warp_map

__all__ = [
    'DynamicSharpening',
    'WarpToStudent',
    'dynamic_sharpen',
    'sharpening_parameters',
    'warp_map',
]
