# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics of folds: each, mean, spread, pooled, of the ensemble; as table, JSON, CSV and figures."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.evaluation.definitions import METRIC_OPTIONS, Definitions, common_definitions
from mmfrac.evaluation.functional.froc import FrocCurve, figures
from mmfrac.evaluation.metrics.files import RecordSet, curve_content, pool_records
from mmfrac.evaluation.report.curves import plot_froc
from mmfrac.utils.io import write_text
from mmfrac.utils.text import table_cell


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


def summary_table(summary: FoldSummary) -> str:
    """A line for each row of a summary.

    Args:
        summary (FoldSummary): Of a cross-validation.

    Returns:
        str: The table.
    """
    names = list(summary.rows[0].metrics)
    head = ['split', 'model', 'epoch', 'films', 'lesions', *names]
    table = [head]
    for row in summary.rows:
        values = [f'{row.metrics[name]:.4f}' for name in names]
        table.append([row.split, row.model, *map(_text, _counts(row)), *values])
    wide = [max(len(line[column]) for line in table) for column in range(len(head))]
    lines = []
    for line in table:
        left = [cell.ljust(width) for cell, width in zip(line[:2], wide)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], wide[2:])]
        lines.append('  '.join(left + right))
    return '\n'.join(lines)


def write_summary(summary: FoldSummary, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write ``cross_validation.json``, ``cross_validation.csv`` and a figure of FROC curves a split.

    Args:
        summary (FoldSummary): Of a cross-validation.
        folder (Path): Where.
        about (Mapping): What the JSON says besides: config, folds, ...

    Returns:
        list[Path]: What was written; a split without lesions has no figure.
    """
    json_file, csv_file = folder / 'cross_validation.json', folder / 'cross_validation.csv'
    content = dict(
        about,
        options=summary.definitions.as_dict(METRIC_OPTIONS),
        rows=[_content(row) for row in summary.rows],
    )
    write_text(json_file, json.dumps(content, indent=1))
    write_text(csv_file, _csv(summary))
    written = [json_file, csv_file]
    for split in ('validation', 'hold-out'):
        curves = {
            row.model: row.curve
            for row in summary.rows
            if row.split == split and row.curve is not None and can_be_drawn(row.curve)
        }
        if curves:
            path = folder / f'froc_{split.replace("-", "")}.png'
            written.append(plot_froc(path, curves, summary.definitions))
    return written


def _counts(row: SummaryRow) -> tuple[int | None, int | None, int | None]:
    return row.epoch, row.images, None if row.curve is None else row.curve.num_lesions


def _text(value: int | None) -> str:
    return '' if value is None else str(value)


def _content(row: SummaryRow) -> dict[str, Any]:
    epoch, films, lesions = _counts(row)
    values = {name: value if math.isfinite(value) else None for name, value in row.metrics.items()}
    content: dict[str, Any] = dict(split=row.split, model=row.model, metrics=values)
    if row.curve is not None:
        content |= dict(epoch=epoch, films=films, lesions=lesions, curve=curve_content(row.curve))
    return content


def _csv(summary: FoldSummary) -> str:
    names = list(summary.rows[0].metrics)
    # on every line: a line is read alone, too
    definitions = {
        name: ' '.join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in summary.definitions.as_dict(METRIC_OPTIONS).items()
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['split', 'model', 'epoch', 'films', 'lesions', *names, *definitions])
    for row in summary.rows:
        values = [row.metrics[name] for name in names]
        counts = map(_text, _counts(row))
        cells = [row.split, row.model, *counts, *values, *definitions.values()]
        writer.writerow(map(table_cell, cells))
    return text.getvalue()


def can_be_drawn(curve: FrocCurve) -> bool:
    """Whether a curve holds no NaN: a lesion and a film to count false positives on were there."""
    return bool(np.isfinite(curve.fppi).all() and np.isfinite(curve.recall).all())
