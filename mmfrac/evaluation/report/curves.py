# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC curves as the paper's Fig. 4, and all figures of a training."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from mmfrac.engine.runner.run_log import read_scalars
from mmfrac.evaluation.functional import froc
from mmfrac.visualization.plots import (
    RC,
    line_styles,
    new_figure,
    plot_sharpening,
    plot_sharpening_epochs,
    plot_val_metrics,
    save_figure,
)

PathLike = str | os.PathLike

# curves whose legend fits into the axes
MOST_INSIDE = 6

FROC_TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5)


def plot_froc(out: PathLike, curves: Mapping[str, Any], max_fppi: float = 1.0) -> Path:
    """FROC curves (paper, Fig. 4), with markers at FPPI 0.1 to 0.5 and the FROC score, their mean.

    FPPI is drawn as its running maximum over falling thresholds, as ``froc.recall_at`` reads it by
    default. Beyond the last operating point the recall is held and drawn dotted.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        curves (Mapping[str, FrocCurve or dict]): Name and curve; a dict has ``fppi`` and ``recall`` in
            the order of falling thresholds.
        max_fppi (float): Right end of the axis. Defaults to 1.

    Returns:
        Path: Where it was written.

    Raises:
        ValueError: When there is no curve, or one with NaN in it (no lesion, or no film).
    """
    if not curves:
        raise ValueError('plot_froc needs one curve at least')
    with rc_context(RC):
        # a long legend would hide the curves: it stands beside them
        many = len(curves) > MOST_INSIDE
        figure, axes = new_figure((9.5, 5.6) if many else (6, 4.6))
        for (name, values), style in zip(curves.items(), line_styles()):
            curve = _as_curve(name, values)
            score = froc.froc_score(curve, FROC_TARGETS)
            fppi = np.maximum.accumulate(curve.fppi)
            (line,) = axes.plot(fppi, curve.recall, label=f'{name}  ({score:.3f})', **style)
            colour = line.get_color()
            marks = froc.recall_at(curve, FROC_TARGETS)
            axes.plot(FROC_TARGETS, marks, 'o', color=colour, markersize=5)
            if fppi[-1] < max_fppi:
                held = curve.recall[[-1, -1]]
                axes.plot([fppi[-1], max_fppi], held, ':', color=colour, linewidth=1.5)
        axes.set(
            xlim=(0, max_fppi),
            ylim=(0, 1.01),
            xlabel='false positives per image (FPPI)',
            ylabel='recall',
        )
        if many:
            figure.legend(loc='outside right center', title='FROC score')
        else:
            axes.legend(loc='best', title='FROC score')
        return save_figure(figure, out)


def _as_curve(name: str, curve: Any) -> froc.FrocCurve:
    if isinstance(curve, Mapping):
        fppi, recall = (np.asarray(curve[key], np.float64) for key in ('fppi', 'recall'))
        if not fppi.size or fppi[0] or recall[0]:
            fppi, recall = np.append(0, fppi), np.append(0, recall)
        # what is drawn depends on neither thresholds nor counts
        curve = froc.FrocCurve(np.full(fppi.shape, np.nan), fppi, recall, 1, 1)
    if not (np.isfinite(curve.fppi).all() and np.isfinite(curve.recall).all()):
        raise ValueError(f'FROC curve {name!r} holds NaN: no lesion or no film was evaluated')
    return curve


SHARPENING_KEYS = ('sharpening/m', 'sharpening/t', 'sharpening/a')

VAL_KEYS = ('frac/AUROC', 'frac/FROC')


def plot_run(
    work_dir: str | os.PathLike,
    out: str | os.PathLike | None = None,
    report: Callable[[str], Any] = print,
) -> list[Path]:
    """Plot what a work dir holds: sharpening, FROC curves, validation metrics.

    Reads ``*/vis_data/scalars.json`` (a resumed run has several; the later one wins in each epoch) and
    the ``frac_*.json`` files of ``FracMetric(out_file=...)``. What is missing is reported and left out.

    Args:
        work_dir (str or PathLike): Of one training.
        out (str or PathLike, optional): Folder of the plots. Defaults to ``work_dir``.
        report (Callable): Is given one line for each thing that is missing or damaged. Defaults to
            ``print``.

    Returns:
        list[Path]: What was written, of ``sharpening.png`` (Fig. 3 (a) at the last epoch's t),
        ``sharpening_epochs.png`` (Fig. 3 (b)), ``froc.png`` (Fig. 4), ``val_metrics.png``.

    Raises:
        FileNotFoundError: When there is no such folder.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(f'no work dir {work_dir}; it is the --work-dir of tools/train.py')
    folder = Path(out) if out is not None else work_dir
    scalars = read_scalars(work_dir, SHARPENING_KEYS + VAL_KEYS, report)
    written = []
    m, t, a = (scalars[key] for key in SHARPENING_KEYS)
    epochs = sorted(m.keys() & t.keys() & a.keys())
    if epochs:
        written.append(plot_sharpening(folder / 'sharpening.png', t=t[epochs[-1]]))
        values = ([series[epoch] for epoch in epochs] for series in (m, t, a))
        written.append(plot_sharpening_epochs(folder / 'sharpening_epochs.png', epochs, *values))
    else:
        report(f'{work_dir}: no sharpening/m, t, a logged; no sharpening_epochs.png')
        written.append(plot_sharpening(folder / 'sharpening.png'))
    curves = read_froc_curves(work_dir, report)
    if curves:
        written.append(plot_froc(folder / 'froc.png', curves))
    else:
        report(f'{work_dir}: no frac_*.json with a curve (FracMetric out_file); no froc.png')
    metrics = {key: scalars[key] for key in VAL_KEYS if scalars[key]}
    if metrics:
        written.append(plot_val_metrics(folder / 'val_metrics.png', metrics))
    else:
        report(f'{work_dir}: no {" or ".join(VAL_KEYS)} logged; no val_metrics.png')
    return written


def read_froc_curves(
    work_dir: Path, report: Callable[[str], Any] = print
) -> dict[str, dict[str, Any]]:
    """FROC curves of the ``frac_*.json`` files in a work dir and the folders right below it.

    Args:
        work_dir (Path): Folder.
        report (Callable): Is given one line for each file without a curve. Defaults to ``print``.

    Returns:
        dict[str, dict]: Curve by name: the file's, without ``frac_`` and suffix, with its folder where
        that is not the work dir.
    """
    curves = {}
    for path in sorted([*work_dir.glob('frac_*.json'), *work_dir.glob('*/frac_*.json')]):
        name = path.relative_to(work_dir).with_name(path.stem.removeprefix('frac_')).as_posix()
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            curve = content['curve']
            points = np.asarray([curve['fppi'], curve['recall']], np.float64)
            if not points.size or not np.isfinite(points).all():
                raise ValueError('no lesion or no film was evaluated')
        except (KeyError, TypeError, ValueError) as error:
            report(f'{path}: no FROC curve in it ({type(error).__name__}: {error})')
            continue
        curves[name] = curve
    return curves
