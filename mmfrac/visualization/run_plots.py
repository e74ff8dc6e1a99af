# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any logged values of one or several runs as curves."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from mmfrac.engine.runner.run_log import read_log
from mmfrac.visualization.plots import RC, check_plots, line_styles, new_figure, save_figure


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
    check_plots(Path(out).parent, Path(out).name)
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
