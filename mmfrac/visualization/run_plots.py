# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The plots of one work dir."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.engine.runner.run_log import read_scalars
from mmfrac.visualization.curves import (
    plot_froc,
    plot_sharpening,
    plot_sharpening_epochs,
    plot_val_metrics,
)

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
