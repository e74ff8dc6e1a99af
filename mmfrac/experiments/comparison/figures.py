# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC curves of all methods, and m and t of the reference in each epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.report.curves import plot_froc
from mmfrac.experiments.comparison.benchmark import Benchmark
from mmfrac.experiments.comparison.run_file import RunResult
from mmfrac.experiments.comparison.selection import final_runs
from mmfrac.visualization.plots import plot_sharpening_epochs

FPPI = np.linspace(0, 1, 101)[1:].tolist()


def plot_comparison(
    benchmark: Benchmark, runs: Sequence[RunResult], folder: str | Path
) -> list[Path]:
    """Draw the figures of a comparison.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are.
        folder (str | Path): Gets ``froc.png`` (recall at each FPPI, mean over seeds; paper, Fig. 4) and
            ``sharpening_epochs.png`` (m and t of the reference, mean over seeds; Fig. 3 (b)).

    Returns:
        list[Path]: What was written.
    """
    folder = Path(folder)
    final = final_runs(benchmark, runs)
    curves = {}
    for name, own in final.items():
        recalls = [froc.recall_at(_curve(run), FPPI) for run in own]
        curves[benchmark.methods[name].label] = dict(
            fppi=[0.0, *FPPI], recall=[0.0, *np.mean(recalls, axis=0).tolist()]
        )
    written = [plot_froc(folder / 'froc.png', curves)] if curves else []
    series = [run.epochs for run in final.get(benchmark.reference, [])]
    m, t = ([run.get(f'sharpening/{name}', {}) for run in series] for name in ('m', 't'))
    epochs = sorted(set.intersection(*map(set, m))) if m else []
    if epochs:
        means = [[float(np.mean([run[e] for run in runs_])) for e in epochs] for runs_ in (m, t)]
        written.append(plot_sharpening_epochs(folder / 'sharpening_epochs.png', epochs, *means))
    return written


def _curve(run: RunResult) -> froc.FrocCurve:
    return froc.froc_curve([film.record for film in run.films if film.record is not None])
