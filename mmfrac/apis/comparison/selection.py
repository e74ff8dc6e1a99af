# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which of the searched values a method is run with."""

from collections.abc import Sequence

from mmfrac.apis.comparison.benchmark import Benchmark, Method
from mmfrac.apis.comparison.run_file import RunResult


def chosen_value(benchmark: Benchmark, method: Method, runs: Sequence[RunResult]) -> float | None:
    """Value with the best validation metric in the runs of the search seed.

    Args:
        benchmark (Benchmark): Its ``select`` is the metric.
        method (Method): Whose value.
        runs (Sequence[RunResult]): Runs of any methods, seeds and values.

    Returns:
        float | None: None where nothing is searched. Of equal ones the first in the benchmark's order.

    Raises:
        ValueError: If a run of the search is missing.
    """
    values = benchmark.values(method)
    if len(values) == 1:
        return values[0]
    reached = {
        run.value: run.validation[benchmark.select]
        for run in runs
        if run.method == method.name and run.seed == benchmark.search_seed
    }
    missing = [value for value in values if value not in reached]
    if missing:
        raise ValueError(f'the search of {method.name} lacks the runs of {missing}')
    return max(values, key=lambda value: reached[value])


def final_runs(benchmark: Benchmark, runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Runs of the chosen value, by method in the benchmark's order; methods without any are left out.

    Args:
        benchmark (Benchmark): The benchmark.
        runs (Sequence[RunResult]): All runs that there are.

    Returns:
        dict[str, list[RunResult]]: Sorted by seed.
    """
    final = {}
    for name, method in benchmark.methods.items():
        own = [run for run in runs if run.method == name]
        if not own:
            continue
        value = chosen_value(benchmark, method, own)
        final[name] = sorted((run for run in own if run.value == value), key=lambda run: run.seed)
    return final
