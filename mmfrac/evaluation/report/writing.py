# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What tools/analysis_tools/froc.py writes: tables, JSON, CSV, curves, an HTML page."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.froc import curve_until
from mmfrac.evaluation.offline.predictions import SavedPredictions
from mmfrac.evaluation.offline.summary import ModelSummary, Summary
from mmfrac.evaluation.report.curves import (
    PathLike,
    caption,
    fppi_label,
    froc_line,
    legend_title,
)
from mmfrac.evaluation.report.page import (
    ErrorExample,
    draw_findings,
    render_page,
    worst_false_positives,
    worst_misses,
)
from mmfrac.evaluation.report.tables import COLUMNS, CURVE_END, as_plain, as_rows
from mmfrac.utils.io import OutputFolder, write_text
from mmfrac.utils.text import table_cell
from mmfrac.visualization.plots import RC, line_styles, new_figure, save_figure

_LOG_FROM = 0.01


def plot_froc_bands(
    out: PathLike, summary: Summary, max_fppi: float = 1.0, log_axis: bool = False
) -> Path:
    """FROC curves of all models with pointwise bootstrap intervals.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        summary (Summary): Models; those without a lesion are left out.
        max_fppi (float): Right end of the axis. Defaults to 1.
        log_axis (bool): Whether FPPI is on a logarithmic axis, from 0.01. Defaults to False.

    Returns:
        Path: Where it was written.
    """
    definitions = summary.definitions
    with rc_context(RC):
        figure, axes = new_figure((6.4, 5.0))
        for (name, model), style in zip(summary.models.items(), line_styles()):
            if not np.isfinite(model.metrics['FROC'].value):
                continue
            low = _LOG_FROM if log_axis else 0
            line = froc_line([model.curve], definitions, low, max_fppi, log_axis)
            score = model.metrics['FROC'].value
            (drawn,) = axes.plot(
                np.append(line.fppi, max(line.end, max_fppi)),
                np.append(line.recall, line.recall[-1]),
                label=f'{name}  ({score:.3f})',
                **style,
            )
            band = model.band
            axes.fill_between(
                band.fppi, band.low, band.high, color=drawn.get_color(), alpha=0.15, linewidth=0
            )
            marks = [model.metrics[key].value for key in definitions.recall_names]
            axes.plot(definitions.recall_fppi, marks, 'o', color=drawn.get_color(), markersize=4)
        if log_axis:
            axes.set_xscale('log')
        axes.set(
            xlim=(_LOG_FROM if log_axis else 0, max_fppi),
            ylim=(0, 1.01),
            xlabel=fppi_label(definitions),
            ylabel='recall',
        )
        if axes.get_legend_handles_labels()[0]:
            title = legend_title(definitions)
            axes.legend(loc='best', title=title, fontsize=9, title_fontsize=7.5)
        bands = (
            f'{definitions.level:.0%} bands of {definitions.replicates} replicates by '
            f'{definitions.cluster}, seed {definitions.seed}'
        )
        axes.set_title(f'{caption(definitions)}; {bands}', fontsize=7.5, color='0.35')
        return save_figure(figure, out)


def plot_reliability(out: PathLike, summary: Summary) -> Path:
    """Reliability diagrams of the image scores of all models.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        summary (Summary): Models.

    Returns:
        Path: Where it was written.
    """
    with rc_context(RC):
        figure, axes = new_figure((5.6, 5.2))
        axes.plot([0, 1], [0, 1], color='0.6', linewidth=1)
        for (name, model), style in zip(summary.models.items(), line_styles()):
            for kind, diagram in model.calibration.items():
                is_plain = kind == 'as it is'
                label = name if is_plain else f'{name}, T = {model.temperature:.2f}'
                axes.plot(
                    diagram.confidence,
                    diagram.frequency,
                    marker='o' if is_plain else 's',
                    markersize=4,
                    label=f'{label}  (ECE {diagram.ece:.3f})',
                    **(style if is_plain else style | dict(linestyle=':', linewidth=1.5)),
                )
        axes.set(
            xlim=(0, 1), ylim=(0, 1), xlabel='mean image score', ylabel='share of fracture films'
        )
        axes.set_aspect('equal')
        axes.legend(loc='best', fontsize=8)
        definitions = summary.definitions
        axes.set_title(
            f'{definitions.calibration_bins} bins of equal {definitions.calibration_kind}',
            fontsize=7.5,
            color='0.35',
        )
        return save_figure(figure, out)


_OVERLAY_THRESHOLD = 0.2

_TABLES = ('froc.json', 'metrics.csv', 'curves.csv')
_PICTURES = ('froc_linear', 'froc_log', 'reliability')


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Where a report comes from.

    Args:
        annotations (str): Annotation file.
        predictions (Mapping[str, SavedPredictions]): Of each model.
        image_folder (Path, optional): Where the image names start. Defaults to None, no overlays.
        command (str): The command that made the report. Defaults to ''.
        versions (Mapping[str, str]): Versions of what it was made with. Defaults to none.
    """

    annotations: str
    predictions: Mapping[str, SavedPredictions]
    image_folder: Path | None = None
    command: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Plain values, for JSON and the page."""
        return dict(
            command=self.command,
            annotations=self.annotations,
            versions=dict(self.versions),
            predictions={
                name: dict(
                    path=saved.path,
                    kind=saved.kind,
                    films_without_a_box=saved.num_silent,
                    boxes_of_other_categories=saved.others,
                    run=saved.run,
                )
                for name, saved in self.predictions.items()
            },
        )


def write_report(
    folder: Path,
    summary: Summary,
    inputs: ReportInputs,
    max_fppi: float = 1.0,
    num_overlays: int = 6,
    html: bool = True,
) -> list[Path]:
    """Write all files of a report; each under a temporary name, then renamed.

    Args:
        folder (Path): Made if need be; of what is there files of an earlier report are replaced.
        summary (Summary): What to say.
        inputs (ReportInputs): Where it comes from.
        max_fppi (float): Right end of the linear axis. Defaults to 1.
        num_overlays (int): Worst false positives, and worst misses, of each model. Defaults to 6.
        html (bool): Whether the page is written. Defaults to True.

    Returns:
        list[Path]: ``froc.json``, ``metrics.csv``, ``curves.csv``, ``froc_linear`` and ``froc_log`` as
        .png and .svg, ``reliability`` likewise, ``report.html``.

    Raises:
        ValueError: If the folder holds a file of one of these names that mmfrac did not write.
    """
    plain = dict(as_plain(summary), inputs=inputs.as_plain())
    output = OutputFolder(folder)
    path = output.path
    names = [*_TABLES, *(f'{stem}.{suffix}' for stem in _PICTURES for suffix in ('png', 'svg'))]
    # before anything is drawn
    for name in (*names, *(['report.html'] if html else [])):
        path(name)
    written = [
        _write(path('froc.json'), json.dumps(plain, indent=1, allow_nan=False)),
        _write(path('metrics.csv'), _csv(COLUMNS, as_rows(summary))),
        _write(
            path('curves.csv'), _csv(('model', 'threshold', 'fppi', 'recall'), _points(summary))
        ),
    ]
    log_end = max(8.0, max_fppi)
    for suffix in ('png', 'svg'):
        written.append(plot_froc_bands(path(f'froc_linear.{suffix}'), summary, max_fppi))
        written.append(plot_froc_bands(path(f'froc_log.{suffix}'), summary, log_end, log_axis=True))
        if any(model.calibration for model in summary.models.values()):
            written.append(plot_reliability(path(f'reliability.{suffix}'), summary))
    if html:
        pictures = {one.stem: one.read_bytes() for one in written if one.suffix == '.svg'}
        findings = {
            name: _findings(
                model,
                inputs.predictions[name],
                inputs.image_folder,
                num_overlays,
                summary.definitions,
            )
            for name, model in summary.models.items()
        }
        page = render_page(summary, plain, pictures, findings)
        written.append(_write(path('report.html'), page))
    # of an earlier report
    output.remove({*names, 'report.html'} - {one.name for one in written})
    return written


def _findings(
    model: ModelSummary,
    predictions: SavedPredictions,
    image_folder: Path | None,
    number: int,
    definitions: Definitions,
) -> dict[str, Sequence[ErrorExample]]:
    points = [p.threshold for p in model.points if 0 < p.threshold < math.inf]
    threshold = points[0] if points else _OVERLAY_THRESHOLD
    results = model.results
    return {
        'false positives': list(
            draw_findings(
                worst_false_positives(results, number),
                results,
                predictions,
                # at its own score at the latest a false positive is there to be seen
                lambda score: min(threshold, score),
                image_folder,
                definitions,
            )
        ),
        'misses': list(
            draw_findings(
                worst_misses(results, number),
                results,
                predictions,
                lambda score: threshold,
                image_folder,
                definitions,
            )
        ),
    }


def _points(summary: Summary):
    for name, model in summary.models.items():
        curve = curve_until(model.curve, CURVE_END)
        for threshold, fppi, recall in zip(curve.thresholds, curve.fppi, curve.recall):
            yield dict(model=name, threshold=threshold, fppi=fppi, recall=recall)


def _csv(columns: Sequence[str], rows) -> str:
    content = io.StringIO()
    writer = csv.DictWriter(content, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows({key: table_cell(value) for key, value in row.items()} for row in rows)
    return content.getvalue()


def _write(path: Path, text: str) -> Path:
    write_text(path, text)
    return path
