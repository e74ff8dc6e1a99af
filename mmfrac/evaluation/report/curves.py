# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC curves as the paper's Fig. 4, and all figures of a training."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from mmfrac.engine.runner.run_log import read_scalars
from mmfrac.evaluation.definitions import CURVE_OPTIONS, Definitions, common_definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.froc import FrocCurve
from mmfrac.visualization.plots import (
    RC,
    check_plots,
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

# the finest step of a curve that is read point by point
_NUM_POINTS = 501


@dataclass(frozen=True, eq=False)
class FrocLine:
    """What is drawn of a FROC curve.

    Attributes:
        fppi (np.ndarray): (k,) ascending.
        recall (np.ndarray): (k,) recall at each, as ``froc.recall_at`` reads it.
        marks (np.ndarray): (t,) recall at each of the targets.
        score (float): FROC score.
        end (float): FPPI of the last operating point, from which the recall is held.
    """

    fppi: np.ndarray
    recall: np.ndarray
    marks: np.ndarray
    score: float
    end: float


def froc_line(
    curves: Sequence[FrocCurve],
    definitions: Definitions,
    low: float = 0.0,
    high: float = 1.0,
    log_axis: bool = False,
) -> FrocLine:
    """Line of a curve, or of the mean of several, as ``definitions`` read it.

    Args:
        curves (Sequence[FrocCurve]): (n) e.g. one a seed; recalls and scores are their means.
        definitions (Definitions): How they are read.
        low (float): Left end of the axis. Defaults to 0.
        high (float): Right end. Defaults to 1.
        log_axis (bool): Whether points are spread on a logarithmic axis. Defaults to False.

    Returns:
        FrocLine: Every operating point of a single curve with ``crossing='first'`` on a linear axis;
        else what is read at 501 FPPI and at the targets.
    """
    options = (definitions.crossing, definitions.interpolation)
    targets = definitions.targets
    marks = np.mean([froc.recall_at(curve, targets, *options) for curve in curves], axis=0)
    score = float(np.mean([froc.froc_score(curve, targets, *options) for curve in curves]))
    end = max(float(curve.fppi.max()) for curve in curves)
    if len(curves) == 1 and definitions.crossing == 'first' and not log_axis:
        fppi, recall = np.maximum.accumulate(curves[0].fppi), curves[0].recall
        if definitions.interpolation == 'step':
            # up to the next operating point the last one holds
            fppi, recall = np.repeat(fppi, 2)[1:], np.repeat(recall, 2)[:-1]
        return FrocLine(fppi, recall, marks, score, end)
    spread = np.geomspace if log_axis else np.linspace
    inside = [target for target in targets if low <= target <= high]
    fppi = np.unique(np.concatenate([spread(low, high, _NUM_POINTS), inside]))
    # past its end each curve is held: that is drawn dotted, where it is so of all
    recall = np.mean([froc.recall_at(curve, fppi.tolist(), *options) for curve in curves], axis=0)
    if end < high:
        last = np.searchsorted(fppi, end, side='right')
        final = np.mean([froc.recall_at(curve, end, *options) for curve in curves])
        fppi, recall = np.append(fppi[:last], end), np.append(recall[:last], final)
    return FrocLine(fppi, recall, marks, score, end)


def plot_froc(
    out: PathLike,
    curves: Mapping[str, Any],
    definitions: Definitions,
    max_fppi: float = 1.0,
) -> Path:
    """FROC curves (paper, Fig. 4), with markers at the targets and the FROC score in the legend.

    All is read as ``definitions`` say. Beyond the last operating point the recall is held and drawn
    dotted.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        curves (Mapping[str, FrocCurve or dict or Sequence[FrocCurve]]): Name and curve; a dict has
            ``fppi`` and ``recall`` in the order of falling thresholds; of several curves, e.g. one a
            seed, the mean is drawn.
        definitions (Definitions): Of these curves.
        max_fppi (float): Right end of the axis. Defaults to 1.

    Returns:
        Path: Where it was written.

    Raises:
        ValueError: When there is no curve, or one with NaN in it (no lesion, or no image).
    """
    if not curves:
        raise ValueError('plot_froc needs one curve at least')
    with rc_context(RC):
        # a long legend would hide the curves: it stands beside them
        many = len(curves) > MOST_INSIDE
        figure, axes = new_figure((9.5, 5.6) if many else (6, 4.6))
        for (name, values), style in zip(curves.items(), line_styles()):
            some = values if isinstance(values, (list, tuple)) else [values]
            line = froc_line([_as_curve(name, one) for one in some], definitions, 0, max_fppi)
            label = f'{name}  ({line.score:.3f})'
            (drawn,) = axes.plot(line.fppi, line.recall, label=label, **style)
            colour = drawn.get_color()
            axes.plot(definitions.targets, line.marks, 'o', color=colour, markersize=5)
            if line.end < max_fppi:
                held = line.recall[[-1, -1]]
                axes.plot([line.end, max_fppi], held, ':', color=colour, linewidth=1.5)
        axes.set(
            xlim=(0, max_fppi), ylim=(0, 1.01), xlabel=fppi_label(definitions), ylabel='recall'
        )
        title = legend_title(definitions)
        if many:
            figure.legend(loc='outside right center', title=title, title_fontsize=7.5)
        else:
            axes.legend(loc='best', title=title, title_fontsize=7.5)
        axes.set_title(caption(definitions), fontsize=7.5, color='0.35')
        return save_figure(figure, out)


def fppi_label(definitions: Definitions) -> str:
    """Label of an axis of FPPI."""
    images = 'all films' if definitions.denominator == 'all' else 'films without lesions'
    return f'false positives per image (FPPI, over {images})'


def legend_title(definitions: Definitions) -> str:
    """Title of a legend with FROC scores."""
    targets = ', '.join(f'{target:g}' for target in definitions.targets)
    return f'FROC score: mean recall at FPPI {targets}'


def caption(definitions: Definitions) -> str:
    """The definitions that a curve depends on, in one line."""
    return (
        f'{definitions.connectivity}-connected, crossing {definitions.crossing}, '
        f'{definitions.interpolation} between points'
    )


def _as_curve(name: str, curve: Any) -> FrocCurve:
    if isinstance(curve, Mapping):
        fppi, recall = (np.asarray(curve[key], np.float64) for key in ('fppi', 'recall'))
        if not fppi.size or fppi[0] or recall[0]:
            fppi, recall = np.append(0, fppi), np.append(0, recall)
        # what is drawn depends on neither thresholds nor counts
        curve = FrocCurve(np.full(fppi.shape, np.nan), fppi, recall, 1, 1)
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
        ValueError: When two of the curves were made under different definitions.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(f'no work dir {work_dir}; it is the --work-dir of tools/train.py')
    folder = Path(out) if out is not None else work_dir
    check_plots(folder, 'sharpening.png', 'sharpening_epochs.png', 'froc.png', 'val_metrics.png')
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
    evaluations = read_evaluations(work_dir, report)
    if evaluations:
        named = [(str(one.path), one.definitions) for one in evaluations.values()]
        definitions = common_definitions(named, CURVE_OPTIONS)
        curves = {name: one.curve for name, one in evaluations.items()}
        # what a file does not hold is not drawn
        ends = [one.max_fppi for one in evaluations.values() if one.max_fppi is not None]
        written.append(plot_froc(folder / 'froc.png', curves, definitions, min([1.0, *ends])))
    else:
        report(f'{work_dir}: no frac_*.json with a curve (FracMetric out_file); no froc.png')
    metrics = {key: scalars[key] for key in VAL_KEYS if scalars[key]}
    if metrics:
        written.append(plot_val_metrics(folder / 'val_metrics.png', metrics))
    else:
        report(f'{work_dir}: no {" or ".join(VAL_KEYS)} logged; no val_metrics.png')
    return written


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A file of ``FracMetric(out_file=...)``.

    Attributes:
        path (Path): The file.
        curve (dict): ``fppi`` and ``recall``.
        definitions (Definitions): Under which they were counted.
        max_fppi (float | None): FPPI up to which the curve is kept; None: all of it.
    """

    path: Path
    curve: dict[str, Any]
    definitions: Definitions
    max_fppi: float | None


def read_evaluations(work_dir: Path, report: Callable[[str], Any] = print) -> dict[str, Evaluation]:
    """The ``frac_*.json`` files in a work dir and the folders right below it.

    Args:
        work_dir (Path): Folder.
        report (Callable): Is given one line for each file without a curve. Defaults to ``print``.

    Returns:
        dict[str, Evaluation]: By name: the file's, without ``frac_`` and suffix, with its folder where
        that is not the work dir.
    """
    found = {}
    for path in sorted([*work_dir.glob('frac_*.json'), *work_dir.glob('*/frac_*.json')]):
        name = path.relative_to(work_dir).with_name(path.stem.removeprefix('frac_')).as_posix()
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            curve = content['curve']
            points = np.asarray([curve['fppi'], curve['recall']], np.float64)
            if not points.size or not np.isfinite(points).all():
                raise ValueError('no lesion or no film was evaluated')
            definitions = Definitions.from_json(content, str(path))
            end = content.get('max_fppi')
            if not (end is None or isinstance(end, (int, float))):
                raise ValueError(f'max_fppi is {end!r}')
        except (KeyError, TypeError, ValueError) as error:
            report(f'{path}: no FROC curve in it ({type(error).__name__}: {error})')
            continue
        found[name] = Evaluation(path, curve, definitions, end)
    return found
