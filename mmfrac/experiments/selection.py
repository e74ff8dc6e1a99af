# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which of the searched values a method is run with."""

import math
from collections.abc import Mapping, Sequence

from mmfrac.evaluation.functional.froc import figures
from mmfrac.evaluation.metrics.files import pool_records
from mmfrac.experiments.benchmark import Benchmark, Method, nan_last
from mmfrac.experiments.results import RunResult


def chosen_value(benchmark: Benchmark, method: Method, runs: Sequence[RunResult]) -> float | None:
    """Value with the best validation metric in the runs of the search seed.

    Of a search by folds it is that of the validation images of all folds together.

    Args:
        benchmark (Benchmark): Its ``select`` is the metric.
        method (Method): Whose value.
        runs (Sequence[RunResult]): Runs of any methods, seeds and values.

    Returns:
        float | None: None where nothing is searched. Of equal ones the first in the benchmark's order.

    Raises:
        ValueError: If a run of the search is missing, or the metric is, or it is NaN for all values.
    """
    values = benchmark.values(method)
    if len(values) == 1:
        return values[0]
    missing = missing_values(benchmark, method, runs)
    if missing:
        raise ValueError(f'the search of {method.name} lacks the runs of {missing}')
    searched = searched_runs(benchmark, method, runs)
    if benchmark.search_folds:
        reached = {
            value: pooled_metric(benchmark, [run for run in searched if run.value == value])
            for value in values
        }
    else:
        reached = {run.value: _selected(benchmark, run.validation, run.name) for run in searched}
    best = max(values, key=lambda value: nan_last(reached[value]))
    if math.isnan(reached[best]):
        raise ValueError(
            f'the search of {method.name} cannot choose: {benchmark.select} is NaN for all values, '
            'because the validation films lack lesions or one of the classes; take another select'
        )
    return best


def missing_values(benchmark: Benchmark, method: Method, runs: Sequence[RunResult]) -> list[float]:
    """Values of a method's search that have not been run; none where nothing is searched."""
    values = benchmark.values(method)
    if len(values) == 1:
        return []
    reached = {(run.value, run.fold) for run in searched_runs(benchmark, method, runs)}
    wanted = folds_of_search(benchmark)
    return [value for value in values if any((value, fold) not in reached for fold in wanted)]


def folds_of_search(benchmark: Benchmark) -> list[int | None]:
    """Folds that each value is tried on; (None,) where the search has none."""
    return list(range(benchmark.search_folds)) or [None]


def pooled_metric(benchmark: Benchmark, runs: Sequence[RunResult]) -> float:
    """The benchmark's ``select`` over the validation images of all folds together.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): Of one value, one a fold.

    Returns:
        float: The metric.

    Raises:
        ValueError: If there is no such metric.
    """
    records = pool_records([run.test_records() for run in runs], 'all folds')
    found, _ = figures(records.images, records.definitions)
    named = {f'frac/{name}': float(value) for name, value in found.items()}
    return _selected(benchmark, named, records.where)


def final_runs(benchmark: Benchmark, runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Runs of the chosen value, by method in the benchmark's order.

    Methods without any, and those whose search is not complete, are left out.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are.

    Returns:
        dict[str, list[RunResult]]: Sorted by seed.
    """
    final = {}
    for name, method in benchmark.methods.items():
        own = [run for run in runs if run.method == name]
        if not own or missing_values(benchmark, method, own):
            continue
        value = chosen_value(benchmark, method, own)
        taken = [run for run in own if run.value == value and run.fold is None]
        if taken:
            final[name] = sorted(taken, key=lambda run: run.seed)
    return final


def _selected(benchmark: Benchmark, metrics: Mapping[str, float], where: str) -> float:
    if benchmark.select not in metrics:
        raise ValueError(
            f'select of {benchmark.name} is {benchmark.select!r}, which {where} has not; there are '
            f'{sorted(metrics)}'
        )
    return metrics[benchmark.select]


def searched_runs(
    benchmark: Benchmark, method: Method, runs: Sequence[RunResult]
) -> list[RunResult]:
    """Runs of a method that its search chooses by."""
    folds = folds_of_search(benchmark)
    return [
        run
        for run in runs
        if (run.method, run.seed) == (method.name, benchmark.search_seed) and run.fold in folds
    ]
