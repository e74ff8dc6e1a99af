# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics of folds: each, mean and spread, pooled, and of the ensemble; from records alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.definitions import Definitions, common_definitions
from mmfrac.evaluation.functional.froc import FrocCurve, figures
from mmfrac.evaluation.metrics.files import RecordSet, pool_records


@dataclass(frozen=True)
class SummaryRow:
    """One line of a summary.

    Attributes:
        split (str): 'validation' or 'hold-out'.
        model (str): 'fold 0', ..., 'mean', 'sd', 'pooled', 'ensemble'.
        metrics (dict[str, float]): By name.
        epoch (int | None): Of a fold's best model.
        images (int | None): Images evaluated; None for mean and sd.
        curve (FrocCurve | None): None for mean and sd.
    """

    split: str
    model: str
    metrics: dict[str, float]
    epoch: int | None = None
    images: int | None = None
    curve: FrocCurve | None = None


@dataclass(frozen=True)
class FoldSummary:
    """What came out of a cross-validation.

    Attributes:
        rows (list[SummaryRow]): Validation, then hold-out.
        definitions (Definitions): Under which all of them were counted.
    """

    rows: list[SummaryRow]
    definitions: Definitions

    def row(self, split: str, model: str) -> SummaryRow:
        """The line of a split and model."""
        return next(row for row in self.rows if (row.split, row.model) == (split, model))


def summarise_folds(
    validation: Sequence[RecordSet],
    hold_out: Sequence[RecordSet],
    ensemble: RecordSet | None,
    epochs: Sequence[int],
) -> FoldSummary:
    """Metrics of all folds, under the definitions that their records name.

    'pooled' on the validation images: each image once, by the model that was not trained on it. 'pooled'
    on the hold-out images: each image once a fold, all under common thresholds. 'sd' is the standard
    deviation of a sample (n - 1).

    Args:
        validation (Sequence[RecordSet]): Of each fold's validation images.
        hold_out (Sequence[RecordSet]): Of each fold's model on the hold-out images; empty: there are
            none.
        ensemble (RecordSet, optional): Of the ensemble on the hold-out images.
        epochs (Sequence[int]): Of each fold's best model.

    Returns:
        FoldSummary: One row a fold and split, and those of all.

    Raises:
        ValueError: If two of them were counted under different definitions, or do not hold what these
            ask for.
    """
    sets = [*validation, *hold_out, *([ensemble] if ensemble is not None else [])]
    definitions = common_definitions([(one.where, one.definitions) for one in sets])
    rows: list[SummaryRow] = []
    for split, parts in (('validation', validation), ('hold-out', hold_out)):
        if not parts:
            continue
        each = [
            _row(split, f'fold {fold}', records, epochs[fold]) for fold, records in enumerate(parts)
        ]
        values = {name: [row.metrics[name] for row in each] for name in each[0].metrics}
        mean = {name: float(np.mean(value)) for name, value in values.items()}
        spread = {name: float(np.std(value, ddof=1)) for name, value in values.items()}
        rows += [*each, SummaryRow(split, 'mean', mean), SummaryRow(split, 'sd', spread)]
        rows.append(_row(split, 'pooled', pool_records(parts, f'{split}, all folds')))
    if ensemble is not None:
        rows.append(_row('hold-out', 'ensemble', ensemble))
    return FoldSummary(rows, definitions)


def _row(split: str, model: str, records: RecordSet, epoch: int | None = None) -> SummaryRow:
    records.check(records.definitions)
    found, curve = figures(records.images, records.definitions)
    values = {name: float(value) for name, value in found.items()}
    return SummaryRow(split, model, values, epoch, len(records.images), curve)
