# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC curves of all methods, and m and t of the reference in each epoch."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmfrac.evaluation.definitions import CURVE_OPTIONS, common_definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.metrics.files import RecordSet
from mmfrac.evaluation.report.curves import plot_froc
from mmfrac.experiments.benchmark import Benchmark
from mmfrac.experiments.results import RunResult
from mmfrac.experiments.selection import final_runs
from mmfrac.utils.io import write_bytes
from mmfrac.visualization.plots import plot_sharpening_epochs


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

    Raises:
        ValueError: If two runs were tested under different definitions.
    """
    folder = Path(folder)
    final = final_runs(benchmark, runs)
    sets = {name: [run.test_records() for run in own] for name, own in final.items()}
    written = []
    if sets:
        named = [(one.where, one.definitions) for own in sets.values() for one in own]
        definitions = common_definitions(named, CURVE_OPTIONS)
        curves = {
            benchmark.methods[name].label: [_curve(one) for one in own]
            for name, own in sets.items()
        }
        # what the records do not hold is not drawn
        ends = [one.max_fppi for own in sets.values() for one in own if one.max_fppi is not None]
        written.append(plot_froc(folder / 'froc.png', curves, definitions, min([1.0, *ends])))
    series = [run.epochs for run in final.get(benchmark.reference, [])]
    m, t = ([run.get(f'sharpening/{name}', {}) for run in series] for name in ('m', 't'))
    epochs = sorted(set.intersection(*map(set, m))) if m else []
    if epochs:
        means = [[float(np.mean([run[e] for run in runs_])) for e in epochs] for runs_ in (m, t)]
        written.append(plot_sharpening_epochs(folder / 'sharpening_epochs.png', epochs, *means))
    for path in written:
        _shrink(path)
    return written


def _shrink(path: Path) -> None:
    """Write a picture of lines and text with 64 colours, in a quarter of its bytes."""
    with Image.open(path) as picture:
        reduced = picture.convert('RGB').quantize(64, dither=Image.Dither.NONE)
    content = io.BytesIO()
    reduced.save(content, 'PNG', optimize=True)
    write_bytes(path, content.getvalue())


def _curve(records: RecordSet) -> froc.FrocCurve:
    return froc.figures(records.images, records.definitions)[1]
