# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every choice that a figure depends on, in one place, so that outputs can name them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


AFROC_FILMS = ('negatives', 'all')

CALIBRATION_KINDS = ('width', 'count')

SOURCES = ('auto', 'prob_map', 'boxes')

CLUSTERS = ('patient', 'film')


@dataclass(frozen=True)
class Definitions:
    """What the paper leaves open; the defaults are those of ``FracMetric``, with recall at all targets.

    Args:
        source (str): 'prob_map', 'boxes', or 'auto': the map where there is one. Defaults to 'auto'.
        connectivity (int): Neighbours of a map cell, 8 or 4. Defaults to 8.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.
        crossing (str): See :func:`froc.recall_at`. Defaults to 'first'.
        interpolation (str): See :func:`froc.recall_at`. Defaults to 'linear'.
        targets (Sequence[float]): FPPI values of the FROC score. Defaults to (.1, .2, .3, .4, .5).
        recall_fppi (Sequence[float]): FPPI values of 'Recall@...'. Defaults to (.1, .2, .3, .4, .5).
        afroc_films (str): See :func:`afroc.afroc_area`. Defaults to 'negatives'.
        calibration_bins (int): Bins of the reliability diagram. Defaults to 10.
        calibration_kind (str): See :func:`calibration.reliability`. Defaults to 'width'.
        cluster (str): What a bootstrap replicate draws, a 'patient' with all films or a 'film'.
            Defaults to 'patient'.
        replicates (int): Bootstrap replicates. Defaults to 2000.
        level (float): Nominal coverage of the intervals. Defaults to 0.95.
        seed (int): Of the draws. Defaults to 0.

    Raises:
        ValueError: If one is out of range.
    """

    source: str = 'auto'
    connectivity: int = 8
    denominator: str = 'all'
    crossing: str = 'first'
    interpolation: str = 'linear'
    targets: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5)
    recall_fppi: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5)
    afroc_films: str = 'negatives'
    calibration_bins: int = 10
    calibration_kind: str = 'width'
    cluster: str = 'patient'
    replicates: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        valid: dict[str, Sequence] = dict(
            source=SOURCES,
            connectivity=(4, 8),
            afroc_films=AFROC_FILMS,
            calibration_kind=CALIBRATION_KINDS,
            cluster=CLUSTERS,
        )
        for name, values in valid.items():
            if getattr(self, name) not in values:
                raise ValueError(f'{name} must be one of {values}, got {getattr(self, name)!r}')
        for name in ('denominator', 'crossing', 'interpolation'):
            check_option(name, getattr(self, name))
        for name in ('targets', 'recall_fppi'):
            values = tuple(check_fppi(getattr(self, name), many=True).tolist())
            object.__setattr__(self, name, values)
        if self.replicates < 1 or self.calibration_bins < 1:
            raise ValueError('replicates and calibration_bins must be positive')
        if not 0 < self.level < 1:
            raise ValueError(f'level must be in (0, 1), got {self.level}')

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
