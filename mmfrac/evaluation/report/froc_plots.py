# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC curves with intervals, and reliability diagrams, of a summary."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.offline.summary import ModelSummary, Summary
from mmfrac.visualization.figures import RC, PathLike, line_styles, new_figure, save_figure

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
            fppi, recall = curve_points(model, definitions, _LOG_FROM if log_axis else 0, max_fppi)
            score = model.metrics['FROC'].value
            (line,) = axes.plot(fppi, recall, label=f'{name}  ({score:.3f})', **style)
            band = model.band
            axes.fill_between(
                band.fppi, band.low, band.high, color=line.get_color(), alpha=0.15, linewidth=0
            )
            marks = [model.metrics[f'Recall@{x:g}'].value for x in definitions.recall_fppi]
            axes.plot(definitions.recall_fppi, marks, 'o', color=line.get_color(), markersize=4)
        if log_axis:
            axes.set_xscale('log')
        axes.set(
            xlim=(_LOG_FROM if log_axis else 0, max_fppi),
            ylim=(0, 1.01),
            xlabel=_axis_label(definitions),
            ylabel='recall',
        )
        if axes.get_legend_handles_labels()[0]:
            targets = ', '.join(f'{target:g}' for target in definitions.targets)
            title = f'FROC score: mean recall at FPPI {targets}'
            axes.legend(loc='best', title=title, fontsize=9, title_fontsize=7.5)
        axes.set_title(caption(definitions), fontsize=7.5, color='0.35')
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


def curve_points(
    model: ModelSummary, definitions: Definitions, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Recall as it is read at 500 FPPI, between ``low`` and ``high``."""
    fppi = np.linspace(low, high, 500) if low == 0 else np.geomspace(low, high, 500)
    recall = froc.recall_at(
        model.curve, fppi.tolist(), definitions.crossing, definitions.interpolation
    )
    return fppi, np.array(recall, np.float64)


def caption(definitions: Definitions) -> str:
    """The definitions that a curve depends on, in one line."""
    return (
        f'{definitions.connectivity}-connected, crossing {definitions.crossing}, '
        f'{definitions.interpolation} between points; {definitions.level:.0%} bands of '
        f'{definitions.replicates} replicates by {definitions.cluster}, seed {definitions.seed}'
    )


def _axis_label(definitions: Definitions) -> str:
    films = 'all films' if definitions.denominator == 'all' else 'films without lesions'
    return f'false positives per image (FPPI, over {films})'
