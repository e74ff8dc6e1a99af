# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A summary as table, JSON, CSV and figures."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.evaluation.definitions import METRIC_OPTIONS
from mmfrac.evaluation.functional.froc import FrocCurve
from mmfrac.evaluation.metrics.files import curve_content
from mmfrac.evaluation.report.curves import plot_froc
from mmfrac.experiments.fold_summary import FoldSummary, SummaryRow
from mmfrac.utils.io import write_text


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
            if row.split == split and row.curve is not None and _can_be_drawn(row.curve)
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
        writer.writerow([row.split, row.model, *counts, *values, *definitions.values()])
    return text.getvalue()


def _can_be_drawn(curve: FrocCurve) -> bool:
    return bool(np.isfinite(curve.fppi).all() and np.isfinite(curve.recall).all())
