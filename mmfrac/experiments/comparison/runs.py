# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Trains and tests the runs of a benchmark; what is done stays done."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from mmfrac.experiments.comparison.benchmark import Benchmark, Method
from mmfrac.experiments.comparison.evaluation import evaluate_run
from mmfrac.experiments.comparison.made_from import fingerprint_of
from mmfrac.experiments.comparison.place import Place
from mmfrac.experiments.comparison.run_file import RunResult, read_run, run_name, write_run
from mmfrac.experiments.comparison.selection import chosen_value
from mmfrac.experiments.comparison.training import METRICS, Trained, train
from mmfrac.experiments.launching import locked


class RunsFailed(RuntimeError):
    """Some runs of a benchmark failed; the others are done."""


def run_benchmark(
    benchmark: Benchmark,
    place: Place,
    methods: Sequence[Method],
    seeds: Sequence[int],
    jobs: int = 1,
    report: Callable[[str], Any] = print,
) -> list[RunResult]:
    """Train and test methods x seeds, each with the value that its search chose.

    A run whose JSON is there, made from the same config and films, is not made again; one that was
    interrupted is resumed, one that another process works on is waited for. The processes of the
    tools end when this is interrupted.

    Args:
        benchmark (Benchmark): The benchmark.
        place (Place): Where it is run.
        methods (Sequence[Method]): Those to run.
        seeds (Sequence[int]): Seeds to run.
        jobs (int): Runs at a time. Defaults to 1.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        list[RunResult]: The runs of the chosen values, method by method.

    Raises:
        RunsFailed: At the end, after all other runs, with what each failed run said.
        RuntimeError: At once, if the supervised model of a seed could not be trained.
    """
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        try:
            starts = _pretrain_all(benchmark, place, methods, seeds, pool, report)
            results, failed = _run_all(benchmark, place, methods, seeds, starts, pool, report)
        except BaseException:
            # the pool waits for its threads, and these for their processes
            place.processes.stop()
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        raise RunsFailed('\n'.join(f'{name}: {error}' for name, error in failed.items()))
    order = {method.name: index for index, method in enumerate(methods)}
    return sorted(results, key=lambda result: (order[result.method], result.seed))


def _pretrain_all(
    benchmark: Benchmark,
    place: Place,
    methods: Sequence[Method],
    seeds: Sequence[int],
    pool: Executor,
    report: Callable[[str], Any],
) -> dict[int, Trained]:
    """The supervised model of each seed that a method goes on from."""
    method = benchmark.pretraining
    if method is None or not any(method.pretrained for method in methods):
        return {}
    has_search = any(len(benchmark.values(method)) > 1 for method in methods)
    wanted = sorted({*seeds, *([benchmark.search_seed] if has_search else [])})

    def pretrain(seed: int) -> Trained:
        cfg = benchmark.build_config(method, place.repository, seed)
        fingerprint = fingerprint_of(place.data_root, [cfg])
        name = run_name('pretraining', seed, None)
        with locked(place.work_dir / name, report) as lock:
            return train(place, name, cfg, fingerprint, lock, report)

    return dict(zip(wanted, pool.map(pretrain, wanted)))


def _run_all(
    benchmark: Benchmark,
    place: Place,
    methods: Sequence[Method],
    seeds: Sequence[int],
    starts: Mapping[int, Trained],
    pool: Executor,
    report: Callable[[str], Any],
) -> tuple[list[RunResult], dict[str, str]]:
    """Searches, then the seeds with what these chose; and what failed, by the run's name."""
    failed: dict[str, str] = {}

    def run(task: tuple[Method, int, Any]) -> RunResult | None:
        name = run_name(task[0].name, *task[1:])
        try:
            with locked(place.work_dir / name, report) as lock:
                return _run(benchmark, place, *task, starts, lock, report)
        except (RuntimeError, FileNotFoundError, ValueError) as error:
            failed[name] = str(error)
            report(f'{name}: {error}')
            return None

    searches = [
        (method, benchmark.search_seed, value)
        for method in methods
        for value in benchmark.values(method)
        if len(benchmark.values(method)) > 1
    ]
    searched = [result for result in pool.map(run, searches) if result]
    lost = {task[0].name for task in searches if run_name(task[0].name, *task[1:]) in failed}
    tasks = [
        (method, seed, chosen_value(benchmark, method, searched))
        for seed in seeds
        for method in methods
        if method.name not in lost
    ]
    return [result for result in pool.map(run, tasks) if result], failed


def _run(
    benchmark: Benchmark,
    place: Place,
    method: Method,
    seed: int,
    value: float | None,
    starts: Mapping[int, Trained],
    lock: int,
    report: Callable[[str], Any],
) -> RunResult:
    name = run_name(method.name, seed, value)
    cfg = benchmark.build_config(method, place.repository, seed, value)
    made_from = [cfg]
    if method.pretrained and benchmark.pretraining is not None:
        made_from.append(benchmark.build_config(benchmark.pretraining, place.repository, None))
    fingerprint = fingerprint_of(place.data_root, made_from)
    path = place.results / f'{name}.json'
    if path.is_file():
        known = read_run(path)
        if known.fingerprint == fingerprint:
            if known.epoch == benchmark.epoch(known.epochs[benchmark.select]):
                return known
            report(f'{name}: {path} tested epoch {known.epoch}: tested again')
        else:
            report(f'{name}: {path} was made from another config or other films: run again')
    steps = 0
    if method.pretrained:
        steps = starts[seed].steps
        cfg.load_from = starts[seed].checkpoint
    trained = train(place, name, cfg, fingerprint, lock, report)
    epoch = benchmark.epoch(trained.epochs[benchmark.select])
    tested = evaluate_run(place, name, cfg, epoch, lock, report)
    result = RunResult(
        benchmark=benchmark.name,
        method=method.name,
        seed=seed,
        value=value,
        fingerprint=fingerprint,
        epoch=epoch,
        steps=steps + trained.steps,
        seconds=round(trained.seconds, 1),
        validation={key: trained.epochs[key][epoch] for key in METRICS},
        test=tested.metrics,
        epochs=trained.epochs,
        records=tested.records,
        versions=tested.versions,
    )
    write_run(place.results, result)
    report(
        f'{name}: test AUROC {result.test["frac/AUROC"]:.3f}, FROC {result.test["frac/FROC"]:.3f} '
        f'(epoch {epoch}, {result.seconds:.0f} s)'
    )
    return result
