# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What each method of a benchmark costs, measured on its own config."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmfrac.engine.costs.model_costs import ModelCosts, measure_all
from mmfrac.experiments.benchmark import Benchmark, Folders, Method
from mmfrac.experiments.jobs import write_config
from mmfrac.utils.io import write_text
from mmfrac.utils.lock import locked

FILE_NAME = 'costs.json'
COLUMNS = ('params M', 'GFLOPs', 's a step', 's a film', 'peak MiB')


def measure_costs(
    benchmark: Benchmark,
    folders: Folders,
    methods: Sequence[Method],
    steps: int = 10,
    report: Callable[[str], Any] = print,
) -> dict[str, ModelCosts]:
    """Measure methods one after the other, each in a process of its own, and write what was found.

    Times are those of this machine as it is now: measure while nothing else runs. Costs of other
    methods that the file has stay there.

    Args:
        benchmark (Benchmark): The benchmark.
        folders (Folders): Where; ``costs.json`` in its results is written after each method.
        methods (Sequence[Method]): Those to measure.
        steps (int): Training steps and films that are timed. Defaults to 10.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        dict[str, ModelCosts]: By method, those of the file included.
    """
    path = folders.results / FILE_NAME
    costs = read_costs(folders.results)  # or an error before anything is measured
    for method in methods:
        report(f'{method.name}: measuring its costs')
        cfg = benchmark.build_config(method, folders.repository, 0)
        config = write_config(cfg, folders.work_dir / 'costs' / method.name)
        (found,) = measure_all([str(config)], str(folders.data_root), steps=steps)
        with locked(path, report):
            # another command may have written meanwhile
            costs = read_costs(folders.results)
            costs[method.name] = replace(found, config=method.config)
            content = {name: asdict(one) for name, one in costs.items()}
            write_text(path, json.dumps(content, indent=1) + '\n')
    return costs


def read_costs(folder: str | Path) -> dict[str, ModelCosts]:
    """Costs of a folder of results by method; none where they were not measured.

    Raises:
        ValueError: If the file is none of costs.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return {name: ModelCosts(**costs) for name, costs in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no file of compare_methods.py --costs ({type(error).__name__}: {error}); '
            'remove it'
        ) from error


def cost_cells(costs: ModelCosts | None) -> list[str]:
    """Cells of a table row under ``COLUMNS``; empty where nothing was measured."""
    if costs is None:
        return [''] * len(COLUMNS)
    return [
        f'{costs.params / 1e6:.2f}',
        f'{costs.gflops:.2f}',
        f'{costs.train_step_seconds:.2f}',
        f'{costs.film_seconds:.3f}',
        f'{costs.peak_memory_bytes / 2**20:.0f}',
    ]
