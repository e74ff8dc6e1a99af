# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics of folds: each, mean and spread, pooled, and of the ensemble; from records alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmfrac.evaluation.functional.froc import FrocCurve
from mmfrac.evaluation.metrics.files import FilmResult
from mmfrac.evaluation.metrics.frac_metric import FracMetric

_OPTIONS = ('denominator', 'crossing', 'interpolation', 'targets', 'recall_fppi')


@dataclass(frozen=True)
class Row:
    """One line of a summary.

    Attributes:
        split (str): 'validation' or 'hold-out'.
        model (str): 'fold 0', ..., 'mean', 'sd', 'pooled', 'ensemble'.
        metrics (dict[str, float]): By name.
        epoch (int | None): Of a fold's best model.
        films (int | None): Films evaluated; None for mean and sd.
        curve (FrocCurve | None): None for mean and sd.
    """

    split: str
    model: str
    metrics: dict[str, float]
    epoch: int | None = None
    films: int | None = None
    curve: FrocCurve | None = None


@dataclass(frozen=True)
class Summary:
    """What came out of a cross-validation.

    Attributes:
        rows (list[Row]): Validation, then hold-out.
        options (dict): Definitions of the metric that were used, where they are not its defaults.
    """

    rows: list[Row]
    options: dict[str, Any]

    def row(self, split: str, model: str) -> Row:
        """The line of a split and model."""
        return next(row for row in self.rows if (row.split, row.model) == (split, model))


def summarise(
    validation: Sequence[Sequence[FilmResult]],
    hold_out: Sequence[Sequence[FilmResult]],
    ensemble: Sequence[FilmResult] | None,
    epochs: Sequence[int],
    options: Mapping[str, Any],
) -> Summary:
    """Metrics of all folds.

    'pooled' on the validation films: each film once, by the model that was not trained on it. 'pooled'
    on the hold-out films: each film once a fold, all under common thresholds. 'sd' is the standard
    deviation of a sample (n - 1).

    Args:
        validation (Sequence): Results of each fold's validation films.
        hold_out (Sequence): Results of each fold's model on the hold-out films; empty: there are none.
        ensemble (Sequence[FilmResult], optional): Of the ensemble on the hold-out films.
        epochs (Sequence[int]): Of each fold's best model.
        options (Mapping): Of ``FracMetric``.

    Returns:
        Summary: One row a fold and split, and those of all.
    """
    used = {key: options[key] for key in _OPTIONS if key in options}
    rows: list[Row] = []
    for split, parts in (('validation', validation), ('hold-out', hold_out)):
        if not parts:
            continue
        each = [
            _row(split, f'fold {fold}', [results], used, epochs[fold])
            for fold, results in enumerate(parts)
        ]
        values = {name: [row.metrics[name] for row in each] for name in each[0].metrics}
        mean = {name: float(np.mean(value)) for name, value in values.items()}
        spread = {name: float(np.std(value, ddof=1)) for name, value in values.items()}
        rows += [*each, Row(split, 'mean', mean), Row(split, 'sd', spread)]
        rows.append(_row(split, 'pooled', parts, used))
    if ensemble is not None:
        rows.append(_row('hold-out', 'ensemble', [ensemble], used))
    return Summary(rows, used)


def _row(
    split: str,
    model: str,
    parts: Sequence[Sequence[FilmResult]],
    options: Mapping[str, Any],
    epoch: int | None = None,
) -> Row:
    films = [
        dict(
            film=(part, result.film),
            label=result.label,
            regions=result.record is not None,
            score=result.score,
            record=result.record,
        )
        for part, results in enumerate(parts)
        for result in results
    ]
    metrics, curve = FracMetric.calculate(films, **options)
    return Row(split, model, metrics, epoch, len(films), curve)
