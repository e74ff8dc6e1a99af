# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods side by side: mean and spread over seeds, paired bootstrap against the reference, figures."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmfrac.engine.costs.model_costs import ModelCosts
from mmfrac.evaluation.definitions import (
    CURVE_OPTIONS,
    METRIC_OPTIONS,
    Definitions,
    common_definitions,
)
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.bootstrap import bootstrap_figures, interval, patient_weights
from mmfrac.evaluation.functional.records import ImageResult
from mmfrac.evaluation.metrics.files import RecordSet
from mmfrac.evaluation.report.curves import plot_froc
from mmfrac.experiments.benchmark import Benchmark
from mmfrac.experiments.costs import COLUMNS, cost_cells
from mmfrac.experiments.fold_summary import can_be_drawn
from mmfrac.experiments.results import RunResult, check_benchmark, check_metrics
from mmfrac.experiments.selection import final_runs
from mmfrac.utils.io import write_bytes, write_text
from mmfrac.visualization.plots import plot_sharpening_epochs, plot_spread

# panels of a figure, and what PseudoTruthHook calls what is in them
_OF_PSEUDO_MAPS = {
    'lesions that pseudo maps hold': 'truth/lesion_recall',
    'precision of their cells': 'truth/precision',
}


@dataclass(frozen=True)
class ComparisonRow:
    """One method of a comparison.

    Attributes:
        method, label (str): Its name and its row.
        seeds (tuple[int, ...]): Of its runs.
        value (float | None): Of the searched setting.
        steps (int): Optimisation steps of a run.
        seconds (float): Mean of a run, without pretraining.
        mean, spread (dict[str, float]): Over seeds; the spread is the standard deviation of the sample,
            NaN for one seed.
        difference (dict[str, float]): Reference minus this method, mean over the common seeds.
        low, high (dict[str, float]): Ends of its 95 % interval.
        common (tuple[int, ...]): Seeds that the reference has, too. Defaults to none.
    """

    method: str
    label: str
    seeds: tuple[int, ...]
    value: float | None
    steps: int
    seconds: float
    mean: dict[str, float]
    spread: dict[str, float]
    difference: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    common: tuple[int, ...] = ()


def compare(
    benchmark: Benchmark, runs: Sequence[RunResult], num_replicates: int = 2000, seed: int = 0
) -> list[ComparisonRow]:
    """Compare the methods of a benchmark on their runs.

    Every replicate draws patients, takes the models of both methods on these films, seed by seed, and
    averages over the seeds that both have. With ``benchmark.intervals`` 'seeds and patients' it draws
    the seeds, too (hierarchical bootstrap): what another training would have given is then part of the
    interval, as far as the seeds that there are show it.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are.
        num_replicates (int): Of the bootstrap. Defaults to 2000.
        seed (int): Of the bootstrap. Defaults to 0.

    Returns:
        list[ComparisonRow]: In the order of the benchmark.

    Raises:
        ValueError: If a run is of another benchmark, or two were tested on different images, against
            other lesions or under different definitions.
    """
    for run in runs:
        check_benchmark(run, benchmark.name, 'results', '--results')
    final = final_runs(benchmark, runs)
    sets = {name: [run.test_records() for run in own] for name, own in final.items()}
    if not sets:
        return []
    definitions = common_definitions(
        [(one.where, one.definitions) for own in sets.values() for one in own]
    )
    metrics = definitions.metric_names
    _check_images(sets)
    draws = {
        name: {
            run.seed: replicate_figures(records, num_replicates, seed)
            for run, records in zip(own, sets[name])
        }
        for name, own in final.items()
    }
    for name, own in final.items():
        for run in own:
            check_metrics(run, {key: one[0] for key, one in draws[name][run.seed].items()})
    reference = draws.get(benchmark.reference, {})
    return [
        _row(benchmark, own, draws[name], reference, metrics, seed) for name, own in final.items()
    ]


# of a run's figures the value on all images first, then that of each replicate
_Draws = Mapping[int, Mapping[str, np.ndarray]]


def _row(
    benchmark: Benchmark,
    runs: Sequence[RunResult],
    draws: _Draws,
    reference: _Draws,
    metrics: Sequence[str],
    seed: int,
) -> ComparisonRow:
    """The row of a method, beside the reference in the seeds that both have."""
    name = runs[0].method
    values = {metric: np.array([run.test[f'frac/{metric}'] for run in runs]) for metric in metrics}
    is_other = name != benchmark.reference
    common = [run.seed for run in runs if is_other and run.seed in reference]
    difference, low, high = ({metric: float('nan') for metric in metrics} for _ in range(3))
    for metric in metrics if common else ():
        pairs = [reference[one][metric] - draws[one][metric] for one in common]
        drawn = np.stack([pair[1:] for pair in pairs])
        over_seeds = (
            drawn.mean(axis=0)
            if benchmark.intervals == 'patients'
            else mean_of_drawn_seeds(drawn, seed)
        )
        difference[metric] = float(np.mean([pair[0] for pair in pairs]))
        low[metric], high[metric] = interval(over_seeds)
    return ComparisonRow(
        method=name,
        label=benchmark.methods[name].label,
        seeds=tuple(run.seed for run in runs),
        value=runs[0].value,
        steps=runs[0].steps,
        seconds=float(np.mean([run.seconds for run in runs])),
        mean={metric: float(value.mean()) for metric, value in values.items()},
        spread={
            metric: float(value.std(ddof=1)) if value.size > 1 else float('nan')
            for metric, value in values.items()
        },
        difference=difference,
        low=low,
        high=high,
        common=tuple(common),
    )


def mean_of_drawn_seeds(values: np.ndarray, seed: int) -> np.ndarray:
    """Mean over seeds that every replicate draws anew, with replacement.

    Args:
        values (np.ndarray): (s, r) of each seed in each replicate of the patients.
        seed (int): Of the draw.

    Returns:
        np.ndarray: (r,).
    """
    num_seeds, num_replicates = values.shape
    rng = np.random.default_rng([seed, num_seeds])
    drawn = rng.integers(num_seeds, size=(num_seeds, num_replicates))
    return np.take_along_axis(values, drawn, axis=0).mean(axis=0)


def interval_text(benchmark: Benchmark, rows: Sequence[ComparisonRow]) -> str:
    """What the differences of a table and their intervals count.

    Args:
        benchmark (Benchmark): With the reference of the table.
        rows (Sequence[ComparisonRow]): Of the table.

    Returns:
        str: A paragraph on the intervals, unless they are those of patients alone, and one on each
        method that has fewer seeds in common with the reference than its row counts.
    """
    compared = [row for row in rows if np.isfinite(row.difference['FROC'])]
    parts = []
    if compared and benchmark.intervals != 'patients':
        parts.append(_how_counted(benchmark, compared))
    if benchmark.reference in {row.method for row in rows}:
        parts += [
            f'{row.label}: compared over {len(row.common)} of its {len(row.seeds)} seeds, those that '
            'the reference has'
            for row in rows
            if row.method != benchmark.reference and len(row.common) < len(row.seeds)
        ]
    return '\n\n'.join(parts)


def _how_counted(benchmark: Benchmark, compared: Sequence[ComparisonRow]) -> str:
    single = [row.label for row in compared if len(row.common) == 1]
    over = 'patients' if len(single) == len(compared) else benchmark.intervals
    how = f'Intervals: 95 % each, over {over}, paired by seed and patient'
    if over != 'patients' and single:
        how += f', over patients alone where one seed is compared ({", ".join(single)})'
    if len(compared) == 1:
        return f'{how}; one method is compared'
    wider = 100 - 5 / len(compared)
    return (
        f'{how}; {len(compared)} methods are compared, none is widened for their number '
        f'(Bonferroni: {wider:.2f} %)'
    )


def time_text(benchmark: Benchmark, runs: Sequence[RunResult]) -> str:
    """How long one seed took: that with the most methods, of equal ones the smallest.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are, those of searches, too.

    Returns:
        str: A sentence; '' without runs.
    """
    methods: dict[int, set[str]] = {}
    for run in runs:
        methods.setdefault(run.seed, set()).add(run.method)
    if not methods:
        return ''
    seed = min(methods, key=lambda one: (-len(methods[one]), one))
    seconds = [run.seconds for run in runs if run.seed == seed]
    counted = f'{len(methods[seed])} of {len(benchmark.methods)} methods'
    if len(seconds) > len(methods[seed]):
        counted += f' in {len(seconds)} runs'
    begun = (
        ', the supervised model that they go on from not counted' if benchmark.pretraining else ''
    )
    return (
        f'Training, validation included: seed {seed}, {counted}, {sum(seconds) / 3600:.1f} h one after '
        f'another{begun}'
    )


def outdated_text(benchmark: Benchmark, runs: Sequence[RunResult]) -> str:
    """Which figures of a table are not of today's config and films.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): Of ``mmfrac.experiments.comparison.outdated_runs``.

    Returns:
        str: A sentence; '' without runs.
    """
    if not runs:
        return ''
    labels = {name: method.label for name, method in benchmark.methods.items()}
    named = [
        f'{labels[run.method]} (seed {run.seed}'
        + ('' if run.value is None else f', value {run.value:g}')
        + ('' if run.fold is None else f', fold {run.fold}')
        + ')'
        for run in runs
    ]
    return (
        f'Runs of another config, other films or another epoch: {", ".join(named)}; the same command '
        'with their methods and seeds makes them anew'
    )


def comparison_table(
    rows: Sequence[ComparisonRow], reference: str, costs: Mapping[str, ModelCosts] | None = None
) -> str:
    """Markdown table of a comparison; differences in points, 1 point = 0.01.

    Args:
        rows (Sequence[ComparisonRow]): Of ``compare``.
        reference (str): Name of the method that the others are compared with; where it has no row there
            are no differences.
        costs (Mapping[str, ModelCosts], optional): Costs by method, for further columns. Defaults to
            None.

    Returns:
        str: The table, without a last line break.
    """
    label = next((row.label for row in rows if row.method == reference), None)
    metrics = list(rows[0].mean) if rows else ['AUROC', 'FROC']
    compared = ['FROC', 'AUROC'] if label is not None else []
    header = ['method', *metrics, *(f'{metric}: {label} ahead by' for metric in compared), 'seeds']
    header += COLUMNS if costs else ()
    lines = ['| ' + ' | '.join(header) + ' |', '|---' * len(header) + '|']
    for row in rows:
        cells = [row.label, *(_mean(row, metric) for metric in metrics)]
        cells += [_difference(row, metric) for metric in compared]
        cells += [str(len(row.seeds)), *(cost_cells(costs.get(row.method)) if costs else ())]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def definitions_text(definitions: Definitions) -> str:
    """What the figures of a table mean, in one line."""
    options = definitions.as_dict(METRIC_OPTIONS)
    named = [
        f'{name} {", ".join(map(str, value)) if isinstance(value, tuple) else value}'
        for name, value in options.items()
    ]
    return f'Definitions: {"; ".join(named)}'


def write_report(
    benchmark: Benchmark,
    table: str,
    definitions: Definitions,
    folder: str | Path,
    reference: str | None = None,
    intervals: str = '',
    films: str = 'test films',
    time: str = '',
    outdated: str = '',
) -> Path:
    """Write the table as ``table.md``, or ``table_<reference>.md`` for another reference.

    Args:
        benchmark (Benchmark): The benchmark.
        table (str): Of ``comparison_table``.
        definitions (Definitions): Of its figures; they are named below the table.
        folder (str | Path): Where.
        reference (str, optional): That of the table. Defaults to the benchmark's.
        intervals (str): ``interval_text`` of it. Defaults to ''.
        films (str): Those of the figures, named above the table. Defaults to 'test films'.
        time (str): ``time_text`` of the runs. Defaults to ''.
        outdated (str): ``outdated_text`` of the runs. Defaults to ''.

    Returns:
        Path: The file.
    """
    other = reference is not None and reference != benchmark.reference
    path = Path(folder) / (f'table_{reference}.md' if other else 'table.md')
    text = f'{benchmark.name}, {films}\n\n{table}\n\n{definitions_text(definitions)}\n'
    for part in (intervals, time, outdated):
        if part:
            text += f'\n{part}\n'
    write_text(path, text)
    return path


def replicate_figures(records: RecordSet, num_replicates: int, seed: int) -> dict[str, np.ndarray]:
    """Figures of a run in every replicate.

    Args:
        records (RecordSet): Of the test images of a run.
        num_replicates (int): Of the bootstrap.
        seed (int): Of the bootstrap.

    Returns:
        dict[str, np.ndarray]: (1 + num_replicates,) by name, that of all images first.

    Raises:
        ValueError: If the records do not hold what their definitions ask for.
    """
    records.check(records.definitions)
    patients = [image.patient_id for image in records.images]
    drawn = patient_weights(patients, num_replicates, seed)
    weights = np.concatenate([np.ones((1, len(patients)), drawn.dtype), drawn])
    return bootstrap_figures(records.images, weights, records.definitions, records.lowest)


def _check_images(sets: Mapping[str, Sequence[RecordSet]]) -> None:
    seen: dict[tuple, str] = {}
    for own in sets.values():
        for records in own:
            key = tuple(
                (one.img_id, one.patient_id, one.label, _lesions(one)) for one in records.images
            )
            seen.setdefault(key, records.where)
    if len(seen) > 1:
        raise ValueError(
            'runs on different test films, or on the same with other labels or lesions, cannot be '
            f'compared: {list(seen.values())}; compare_methods.py without --tables-only, with the seeds '
            'of both, makes anew what was tested on other films than there are now'
        )


def _lesions(image: ImageResult) -> int | None:
    return None if image.record is None else image.record.lesion_scores.size


def _mean(row: ComparisonRow, metric: str) -> str:
    if np.isnan(row.mean[metric]):
        return 'n/a'
    spread = '' if len(row.seeds) < 2 else f' ± {row.spread[metric]:.3f}'
    return f'{row.mean[metric]:.3f}{spread}'


def _difference(row: ComparisonRow, metric: str) -> str:
    if not np.isfinite(row.difference[metric]):
        return ''
    value, low, high = (100 * part[metric] for part in (row.difference, row.low, row.high))
    return f'{value:+.2f} ({low:+.2f} to {high:+.2f})'


def plot_comparison(
    benchmark: Benchmark, runs: Sequence[RunResult], folder: str | Path
) -> list[Path]:
    """Draw the figures of a comparison.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are.
        folder (str | Path): Gets ``froc.png`` (recall at each FPPI, mean over seeds; paper, Fig. 4),
            ``spread.png`` (FROC of each run, and what pseudo maps hold, mean over seeds) and
            ``sharpening_epochs.png`` (m and t of the reference, mean over seeds; Fig. 3 (b)).

    Returns:
        list[Path]: What was written; films without a lesion have no FROC to draw.

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
            benchmark.methods[name].label: drawn
            for name, own in sets.items()
            if (drawn := [curve for one in own if can_be_drawn(curve := _curve(one))])
        }
        # what the records do not hold is not drawn
        ends = [one.max_fppi for own in sets.values() for one in own if one.max_fppi is not None]
        if curves:
            path = folder / 'froc.png'
            written.append(plot_froc(path, curves, definitions, min([1.0, *ends])))
            written.append(_plot_spread(benchmark, final, folder / 'spread.png'))
    own = final.get(benchmark.reference, [])
    m, t = (_mean_of_epochs(own, f'sharpening/{name}') for name in ('m', 't'))
    if m:
        path = folder / 'sharpening_epochs.png'
        written.append(plot_sharpening_epochs(path, list(m), list(m.values()), list(t.values())))
    for path in written:
        _shrink(path)
    return written


def _plot_spread(
    benchmark: Benchmark, final: Mapping[str, Sequence[RunResult]], path: Path
) -> Path:
    labels = {name: benchmark.methods[name].label for name in final}
    values = {labels[name]: [run.test['frac/FROC'] for run in own] for name, own in final.items()}
    measured: dict[str, dict[str, dict[int, float]]] = {}
    for title, key in _OF_PSEUDO_MAPS.items():
        for name, own in final.items():
            mean = _mean_of_epochs(own, key)
            if mean:
                measured.setdefault(title, {})[labels[name]] = mean
    return plot_spread(path, values, measured, 'FROC of each run, mean')


def _mean_of_epochs(runs: Sequence[RunResult], key: str) -> dict[int, float]:
    """A logged value in the epochs that all runs have, in their order."""
    series = [run.epochs.get(key, {}) for run in runs]
    common = sorted(set.intersection(*map(set, series))) if series else []
    return {epoch: float(np.mean([one[epoch] for one in series])) for epoch in common}


def _shrink(path: Path) -> None:
    """Write a picture of lines and text with 64 colours, in a quarter of its bytes."""
    with Image.open(path) as picture:
        reduced = picture.convert('RGB').quantize(64, dither=Image.Dither.NONE)
    content = io.BytesIO()
    reduced.save(content, 'PNG', optimize=True)
    write_bytes(path, content.getvalue())


def _curve(records: RecordSet) -> froc.FrocCurve:
    return froc.figures(records.images, records.definitions)[1]
