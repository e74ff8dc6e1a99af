# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a FROC curve and its readings may be asked for."""

import numpy as np
from numpy.typing import ArrayLike

_OPTIONS = {
    'denominator': ('all', 'negatives'),
    'crossing': ('first', 'best'),
    'interpolation': ('linear', 'step'),
}


def check_option(name: str, value: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a valid value of the option ``name``."""
    if value not in _OPTIONS[name]:
        raise ValueError(f'{name} must be one of {_OPTIONS[name]}, got {value!r}')


def check_fppi(fppi: ArrayLike, many: bool | None = None) -> np.ndarray:
    """FPPI values as a float64 array; ``ValueError`` if they are not numbers >= 0.

    Args:
        fppi (ArrayLike): One value or a sequence of values.
        many (bool | None): True: must be a sequence of at least one. Defaults to None, either.

    Returns:
        np.ndarray: () or (n,).

    Raises:
        ValueError: If they are no such numbers, or of another shape.
    """
    values = np.asarray(fppi, np.float64)
    wrong_shape = values.ndim > 1 or (many and not (values.ndim == 1 and values.size))
    if wrong_shape or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f'FPPI must be finite and >= 0, got {fppi!r}')
    return values
