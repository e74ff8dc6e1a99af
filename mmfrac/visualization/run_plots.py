# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any logged values of one or several runs as curves."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from mmfrac.engine.runner.run_log import read_log, read_scalars
from mmfrac.visualization.curves import (
    RC,
    line_styles,
    new_figure,
    plot_froc,
    plot_sharpening,
    plot_sharpening_epochs,
    plot_val_metrics,
    save_figure,
)


class LoggedSeries(NamedTuple):
    """Values of one key: ``values`` by ``unit``, which is 'iteration' or 'epoch'."""

    values: dict[int, float]
    unit: str


def plot_keys(
    work_dirs: Sequence[str | os.PathLike],
    keys: Sequence[str],
    out: str | os.PathLike,
    report: Callable[[str], Any] = print,
) -> Path:
    """Plot logged values, a panel a key and a line a run.

    Args:
        work_dirs (Sequence[str or PathLike]): Work dirs of trainings.
        keys (Sequence[str]): Names as in ``vis_data/scalars.json``, e.g. 'loss_semi', 'frac/FROC'.
        out (str or PathLike): Picture, PNG or SVG by suffix.
        report (Callable): Is given one line for what is missing or damaged. Defaults to ``print``.

    Returns:
        Path: Where it was written.

    Raises:
        FileNotFoundError: When there is no such folder.
        ValueError: When no run has logged a key; the keys that there are are named.
    """
    folders = [Path(work_dir) for work_dir in work_dirs]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'no work dir {folder}; it is the --work-dir of tools/train.py')
    runs = {str(folder): read_series(folder, report) for folder in folders}
    logged = sorted({key for run in runs.values() for key in run})
    absent = [key for key in keys if key not in logged]
    if absent:
        raise ValueError(f'{absent} was not logged; there are: {", ".join(logged) or "no values"}')
    panels: list[tuple[str, str, dict[str, dict[int, float]]]] = []
    for key in keys:
        found = {name: run[key] for name, run in runs.items() if key in run}
        for name in runs.keys() - found.keys():
            report(f'{name}: no {key} logged')
        # of a key that some runs log by iteration and some by epoch both panels are drawn
        for unit in sorted({series.unit for series in found.values()}):
            lines = {name: one.values for name, one in found.items() if one.unit == unit}
            panels.append((key, unit, lines))
    with rc_context(RC):
        size = (6, 0.6 + 2.6 * len(panels))
        figure, _ = new_figure(size, rows=(1,) * len(panels), sharex=False)
        for axes, (key, unit, lines) in zip(figure.axes, panels):
            for (name, values), style in zip(lines.items(), line_styles()):
                steps = sorted(values)
                axes.plot(steps, [values[step] for step in steps], label=name, **style)
            axes.set(ylabel=key, xlabel=unit)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(loc='best')
        return save_figure(figure, out)


def read_series(work_dir: Path, report: Callable[[str], Any] = print) -> dict[str, LoggedSeries]:
    """Every value that a run has logged.

    Args:
        work_dir (Path): Of one training, see ``read_log``.
        report (Callable): Is given one line for each damaged file. Defaults to ``print``.

    Returns:
        dict[str, LoggedSeries]: By key. What was logged in training steps goes by iteration, what was
        logged after an epoch (validation, sharpening, monitors) by epoch; of a key that is logged in
        both, such as 'time', the training steps.
    """
    by_unit: dict[str, dict[str, dict[int, float]]] = dict(epoch={}, iteration={})
    for record in read_log(work_dir, report):
        found = by_unit['iteration' if 'iter' in record else 'epoch']
        step = int(record.get('step', 0))
        for key, value in record.items():
            if isinstance(value, (int, float)) and key != 'step':
                found.setdefault(key, {})[step] = float(value)
    return {
        key: LoggedSeries(values, unit)
        for unit, found in by_unit.items()
        for key, values in found.items()
    }


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
