# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every choice that a figure depends on, in one place, so that outputs can name them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

CHOICES: dict[str, tuple] = dict(
    source=('auto', 'prob_map', 'boxes'),
    connectivity=(8, 4),
    denominator=('all', 'negatives'),
    crossing=('first', 'best'),
    interpolation=('linear', 'step'),
    afroc_films=('negatives', 'all'),
    calibration_kind=('width', 'count'),
    cluster=('patient', 'film'),
)
"""Valid values of the options that have a list of them."""

METRIC_OPTIONS = (
    'source',
    'connectivity',
    'denominator',
    'crossing',
    'interpolation',
    'targets',
    'recall_fppi',
)
"""Options of ``FracMetric``: all that AUROC, FROC score, recalls and the curve depend on."""

# replicates, of which each image has a byte
_MOST_DRAWN = 1_000_000

CURVE_OPTIONS = tuple(name for name in METRIC_OPTIONS if name != 'recall_fppi')
"""What a drawn FROC curve and its legend depend on."""


def check_option(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is a valid value of the option ``name``."""
    if value not in CHOICES[name]:
        raise ValueError(f'{name} must be one of {CHOICES[name]}, got {value!r}')


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


@dataclass(frozen=True)
class Definitions:
    """What FROC, recall, hit and false positive mean; everything that gives a figure takes one.

    Args:
        source (str): 'prob_map', 'boxes', or 'auto': the map where there is one. Defaults to 'auto'.
        connectivity (int): Neighbours of a map cell, 8 or 4. Defaults to 8.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.
        crossing (str): See :func:`froc.recall_at`. Defaults to 'first'.
        interpolation (str): See :func:`froc.recall_at`. Defaults to 'linear'.
        targets (Sequence[float]): FPPI values of the FROC score. Defaults to (.1, .2, .3, .4, .5).
        recall_fppi (Sequence[float]): FPPI values of 'Recall@...'. Defaults to (.1, .2, .3, .4, .5);
            that of ``FracMetric`` is (.1,), see ``METRIC_DEFAULTS``.
        afroc_films (str): See :func:`afroc.afroc_area`. Defaults to 'negatives'.
        calibration_bins (int): Bins of the reliability diagram. Defaults to 10.
        calibration_kind (str): See :func:`calibration.reliability`. Defaults to 'width'.
        cluster (str): What a bootstrap replicate draws, a 'patient' with all images or a 'film'.
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
        for name in CHOICES:
            check_option(name, getattr(self, name))
        for name in ('targets', 'recall_fppi'):
            values = tuple(check_fppi(getattr(self, name), many=True).tolist())
            object.__setattr__(self, name, values)
        if len(set(self.recall_names)) < len(set(self.recall_fppi)):
            raise ValueError(
                f'recall_fppi {self.recall_fppi} has values of one name: {self.recall_names}'
            )
        if self.replicates < 1 or self.calibration_bins < 1:
            raise ValueError('replicates and calibration_bins must be positive')
        if max(self.replicates, self.calibration_bins) > _MOST_DRAWN:
            raise ValueError(f'replicates and calibration_bins must be at most {_MOST_DRAWN}')
        if not 0 < self.level < 1:
            raise ValueError(f'level must be in (0, 1), got {self.level}')

    @property
    def recall_names(self) -> tuple[str, ...]:
        """Name of the recall at each of ``recall_fppi``, e.g. 'Recall@0.1'."""
        return tuple(f'Recall@{fppi:g}' for fppi in self.recall_fppi)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of what ``FracMetric`` reports: 'AUROC', 'FROC' and the recalls, each once."""
        return tuple(dict.fromkeys(('AUROC', 'FROC', *self.recall_names)))

    @property
    def highest_fppi(self) -> float:
        """The highest FPPI that a figure asks for."""
        return max(*self.targets, *self.recall_fppi)

    def as_dict(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Plain values, for JSON.

        Args:
            names (Iterable[str], optional): Which. Defaults to None, all.

        Returns:
            dict[str, Any]: Values by name.
        """
        values = asdict(self)
        return values if names is None else {name: values[name] for name in names}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> 'Definitions':
        """Definitions that a JSON file with figures or records holds.

        Args:
            content (Mapping[str, Any]): The file. They are its ``definitions`` (or ``options``, in files
                of ``FracMetric(out_file=...)``); of a file without, or where one is absent, those of
                ``METRIC_DEFAULTS``.
            where (str): The file, for the message.

        Returns:
            Definitions: That its figures depend on.

        Raises:
            ValueError: If they are damaged, or of a name that this version does not know.
        """
        held = content.get('definitions', content.get('options', {}))
        known = {one.name for one in fields(cls)}
        if not isinstance(held, Mapping) or not held.keys() <= known:
            unknown = sorted(set(held) - known) if isinstance(held, Mapping) else held
            raise ValueError(
                f'{where}: unknown definitions {unknown}; evaluate anew with this version'
            )
        try:
            return cls(**METRIC_DEFAULTS.as_dict() | dict(held))
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f'{where}: its definitions are damaged ({error})') from error


METRIC_DEFAULTS = Definitions(recall_fppi=(0.1,))
"""Defaults of ``FracMetric``, and what holds of a file that names no definitions."""


def common_definitions(
    named: Iterable[tuple[str, Definitions]], names: Sequence[str] = METRIC_OPTIONS
) -> Definitions:
    """The definitions of all that stands in one table or plot.

    Args:
        named (Iterable[tuple[str, Definitions]]): What has them, a file or run, and they; at least one.
        names (Sequence[str]): Options in which they must agree. Defaults to ``METRIC_OPTIONS``.

    Returns:
        Definitions: Those of the first.

    Raises:
        ValueError: If two of them differ; it names both, and in what.
    """
    (first, common), *others = named
    for other, definitions in others:
        one, two = common.as_dict(names), definitions.as_dict(names)
        differences = [f'{key} {one[key]} and {two[key]}' for key in one if one[key] != two[key]]
        if differences:
            raise ValueError(
                f'{first} and {other} cannot be compared, their definitions differ: '
                f'{"; ".join(differences)}; evaluate one of them anew'
            )
    return common
