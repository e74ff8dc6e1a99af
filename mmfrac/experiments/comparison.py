# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods x seeds of a benchmark: trained and tested; what is done stays done."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.experiments.benchmark import PRETRAINED, Benchmark, Folders, Method
from mmfrac.experiments.executors import Executor, LocalExecutor
from mmfrac.experiments.fingerprint import ANNOTATIONS, run_fingerprint
from mmfrac.experiments.fingerprint import fingerprint as digest
from mmfrac.experiments.jobs import (
    RESULT_FILE,
    EvaluatedJob,
    Report,
    Training,
    TrainingJob,
    frac_definitions,
)
from mmfrac.experiments.results import (
    RUNS_FILE,
    RunResult,
    add_runs,
    check_benchmark,
    read_result,
    read_runs,
    run_name,
)
from mmfrac.experiments.selection import (
    chosen_value,
    final_runs,
    folds_of_search,
    searched_runs,
)
from mmfrac.preparation.splits.folds import read_folds, write_folds
from mmfrac.utils.config import set_fold
from mmfrac.utils.device import computed_on
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.io import write_text
from mmfrac.utils.lock import locked

# method, seed, value of its search, fold of its search
Task = tuple[Method, int, float | None, int | None]

# FPPI up to which records are kept: of the patients that a replicate draws few may have the false
# positives, and it reaches the reported FPPI far behind the films
RECORDS_MAX_FPPI = 8.0
LIBRARIES = ('mmfrac', 'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy')


class RunsFailed(RuntimeError):
    """Some runs of a benchmark failed; the others are done."""


@dataclass(frozen=True)
class MethodRun(EvaluatedJob):
    """One method with one seed and value.

    Attributes:
        benchmark (Benchmark): Chooses the epoch.
        method (Method): The method.
        seed (int): Of the training.
        value (float | None): Of the searched setting.
        start_steps (int): Optimisation steps of the model that it goes on from. Defaults to 0.
        fold (int | None): Of a search by folds, evaluated on its validation images. Defaults to None.
    """

    benchmark: Benchmark
    method: Method
    seed: int
    value: float | None
    start_steps: int = 0
    fold: int | None = None

    result_type = RunResult

    @property
    def part(self) -> str:  # type: ignore[override]
        """Images that the checkpoint is evaluated on."""
        return 'test' if self.fold is None else 'val'

    def choose(self, training: Training) -> tuple[Path, int]:
        """Checkpoint of the epoch that the benchmark's rule takes.

        Raises:
            FileNotFoundError: If it is gone.
            ValueError: If the rule takes none.
        """
        epoch = self.benchmark.epoch(training.epochs)
        found = [
            *self.work_dir.glob(f'best_*_epoch_{epoch}.pth'),
            *self.work_dir.glob(f'epoch_{epoch}.pth'),
        ]
        if not found:
            raise FileNotFoundError(
                f'{self.work_dir} holds no checkpoint of epoch {epoch}; remove the folder'
            )
        return found[0], epoch

    def check(self) -> None:
        """Raise a ``ValueError`` if the work dir holds a run of another benchmark."""
        file = self.work_dir / RESULT_FILE
        if file.is_file():
            self.is_current(read_result(RunResult, file))

    def is_current(self, result: RunResult) -> bool:
        """Whether a result is made from the same, and of the epoch that the rule takes now.

        Raises:
            ValueError: If it is of another benchmark: it stays.
        """
        file = self.work_dir / RESULT_FILE
        check_benchmark(result, self.benchmark.name, file, '--work-dir')
        return super().is_current(result) and result.epoch == self.benchmark.epoch(result.epochs)

    def result(
        self,
        training: Training,
        checkpoint: Path,
        epoch: int,
        metrics: dict[str, float],
        records: dict[str, Any],
    ) -> RunResult:
        """See ``EvaluatedJob``."""
        versions = installed_versions()
        return RunResult(
            benchmark=self.benchmark.name,
            method=self.method.name,
            seed=self.seed,
            value=self.value,
            fingerprint=self.fingerprint,
            epoch=epoch,
            steps=self.start_steps + training.steps,
            seconds=round(training.seconds, 1),
            validation={
                key: values[epoch]
                for key, values in training.epochs.items()
                if key.startswith('frac/') and epoch in values
            },
            test=metrics,
            epochs=training.epochs,
            records=records,
            versions={name: versions[name] for name in LIBRARIES} | computed_on(),
            fold=self.fold,
        )

    def summary(self, result: RunResult) -> str:
        """See ``EvaluatedJob``."""
        return (
            f'{self.part} AUROC {result.test["frac/AUROC"]:.3f}, FROC {result.test["frac/FROC"]:.3f} '
            f'(epoch {result.epoch}, {result.seconds:.0f} s)'
        )


def run_benchmark(
    benchmark: Benchmark,
    folders: Folders,
    methods: Sequence[Method],
    seeds: Sequence[int],
    executor: Executor | None = None,
    report: Report = print,
) -> list[RunResult]:
    """Train and test methods x seeds, each with the value that its search chose.

    A run that is in the benchmark's file or in its work dir, made from the same config and images, is
    not made again; one that was interrupted is resumed, one that another process works on is waited for.
    What is done is put into the file after the searches and after all runs.

    Args:
        benchmark (Benchmark): The benchmark.
        folders (Folders): Where it is run.
        methods (Sequence[Method]): Those to run.
        seeds (Sequence[int]): Seeds to run.
        executor (Executor, optional): Runs the jobs. Defaults to None: here, one at a time.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        list[RunResult]: The runs of the chosen values, method by method.

    Raises:
        RunsFailed: At the end, after all other runs, with what each failed run said.
        JobError: At once, if the supervised model of a seed could not be trained.
        ValueError: At once, if the results or a work dir are those of another benchmark.
    """
    executor = executor or LocalExecutor()
    failed: dict[str, str] = {}

    def run(tasks: Sequence[Task]) -> list[RunResult]:
        jobs = [method_run(benchmark, folders, *task) for task in tasks]
        results, left = _known(folders, jobs, report)
        left = _pretrained(left, folders, executor, report)
        outcomes = executor.run(left, report, keeps_going=True)
        for job, outcome in zip(left, outcomes):
            if isinstance(outcome, Exception):
                failed[job.name] = str(outcome)
            else:
                results[job.name] = outcome
        if results:
            add_runs(folders.results, results.values())
        return [results[job.name] for job in jobs if job.name in results]

    searched_methods = [method for method in methods if len(benchmark.values(method)) > 1]
    if searched_methods:
        # what a method lacks shows before its search, or that of another one
        for method in methods:
            method_run(
                benchmark, folders, method, benchmark.search_seed, benchmark.values(method)[0]
            )
    searches = [
        (method, benchmark.search_seed, value, fold)
        for method in searched_methods
        for value in benchmark.values(method)
        for fold in folds_of_search(benchmark)
    ]
    if searches and benchmark.search_folds:
        make_folds(benchmark, folders, report)
    searched = run(searches)
    lost = {task[0].name for task in searches if run_name(task[0].name, *task[1:]) in failed}
    results = run(
        [
            (method, seed, chosen_value(benchmark, method, searched), None)
            for seed in seeds
            for method in methods
            if method.name not in lost
        ]
    )
    if failed:
        raise RunsFailed('\n'.join(f'{name}: {error}' for name, error in failed.items()))
    order = [method.name for method in methods]
    return sorted(results, key=lambda result: (order.index(result.method), result.seed))


def make_folds(benchmark: Benchmark, folders: Folders, report: Report = print) -> Path:
    """Split train and validation images for a search by folds.

    Folds that are there are taken, unless they are of other films, another seed or another number.

    Args:
        benchmark (Benchmark): Says how many folds; its search seed is that of the split.
        folders (Folders): They go into ``folds/`` of the work dir.
        report (Callable): Is given a line for each note on patients. Defaults to ``print``.

    Returns:
        Path: Folder of the folds.
    """
    folder = folders.work_dir / 'folds'
    folder.parent.mkdir(parents=True, exist_ok=True)
    train, val, test = _split_files(folders)
    with locked(folder, lambda line: None):
        if not _has_folds(benchmark, folders):
            made_from = folder.with_name('folds.fingerprint')
            made_from.unlink(missing_ok=True)
            write_folds(
                [train, val],
                folder,
                num_folds=benchmark.search_folds,
                seed=benchmark.search_seed,
                test_file=test,
                overwrite=(folder / 'folds.json').is_file(),
            )
            write_text(made_from, _fingerprint_of_folds(benchmark, folders))
        for note in read_folds(folder).get('notes', ()):
            report(f'note: {note}')
    return folder


def _split_files(folders: Folders) -> list[Path]:
    return [folders.data_root / name for name in ANNOTATIONS]


def _fingerprint_of_folds(benchmark: Benchmark, folders: Folders) -> str:
    return digest([benchmark.search_folds, benchmark.search_seed], _split_files(folders))


def _has_folds(benchmark: Benchmark, folders: Folders) -> bool:
    """Whether the folds of these films are in the work dir."""
    made_from = folders.work_dir / 'folds.fingerprint'
    return (
        (folders.work_dir / 'folds/folds.json').is_file()
        and made_from.is_file()
        and made_from.read_text() == _fingerprint_of_folds(benchmark, folders)
    )


def method_run(
    benchmark: Benchmark,
    folders: Folders,
    method: Method,
    seed: int,
    value: float | None,
    fold: int | None = None,
) -> MethodRun:
    """A run of a benchmark, with what it is made from.

    Args:
        benchmark (Benchmark): The benchmark.
        folders (Folders): Where it is run.
        method (Method): One of its methods.
        seed (int): Of the training.
        value (float | None): Of the searched setting.
        fold (int | None): Of the search, which ``make_folds`` made. Defaults to None: no fold.

    Returns:
        MethodRun: The run, of a pretrained method without the model that it goes on from.

    Raises:
        FileNotFoundError: If an annotation file is missing.
        ValueError: If the method goes on from two models, the benchmark chooses by what it does not
            validate, or the folds lack boxes that the method trains with.
    """
    name = run_name(method.name, seed, value, fold)
    cfg = benchmark.build_config(method, folders.repository, seed, value)
    configs = [cfg]
    if method.pretrained and cfg.get('load_from') is not None:
        raise ValueError(
            f'{method.name} sets load_from, and goes on from the supervised model of its seed: set '
            'pretrained=False, or leave load_from out'
        )
    if method.pretrained and benchmark.pretraining is not None:
        configs.append(benchmark.build_config(benchmark.pretraining, folders.repository, None))
    try:
        fingerprint = run_fingerprint(folders.data_root, configs)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{method.name}: {error} To run other methods name them: --methods'
        ) from error
    if fold is not None:
        fingerprint = _set_fold(cfg, folders, fold, fingerprint)
    definitions = frac_definitions({'test_evaluator': cfg.test_evaluator})
    _check_select(benchmark, cfg)
    return MethodRun(
        name=name,
        work_dir=folders.work_dir / name,
        cfg=cfg,
        fingerprint=fingerprint,
        tools=folders.tools,
        max_fppi=max(RECORDS_MAX_FPPI, definitions.highest_fppi),
        benchmark=benchmark,
        method=method,
        seed=seed,
        value=value,
        fold=fold,
    )


def _check_select(benchmark: Benchmark, cfg: Config) -> None:
    """Raise a ``ValueError`` if the benchmark chooses by a figure that validation does not give."""
    if not benchmark.select.startswith('frac/'):
        return
    names = frac_definitions({'val_evaluator': cfg.val_evaluator}).metric_names
    given = [f'frac/{name}' for name in names]
    if benchmark.select not in given:
        raise ValueError(
            f'select of {benchmark.name} is {benchmark.select!r}, which validation does not give; it '
            f'gives {given}'
        )


def _set_fold(cfg: Config, folders: Folders, fold: int, before: str) -> str:
    """Read the files of a fold; the fingerprint with them, whichever their folder is."""
    folder = folders.work_dir / 'folds'
    set_fold(cfg, folder, fold)
    files = [folder / f'fold{fold}' / f'{part}.json' for part in ('train', 'val')]
    return digest([before, fold], files)


def collect_runs(benchmark: Benchmark, folders: Folders) -> None:
    """Put what a benchmark that was interrupted has done into its file, where that lacks it.

    Raises:
        ValueError: If the file, or the work dir of one of its methods, is that of another benchmark.
    """
    known = set()
    if (folders.results / RUNS_FILE).is_file():
        known = {run.name for run in read_runs(folders.results)}
    files = sorted(folders.work_dir.glob(f'*/{RESULT_FILE}'))
    found = {file: read_result(RunResult, file) for file in files if file.parent.name not in known}
    for file, run in found.items():
        if run.method in benchmark.methods:
            check_benchmark(run, benchmark.name, file, '--work-dir')
    own = [run for run in found.values() if run.benchmark == benchmark.name]
    if own:
        add_runs(folders.results, own)


def outdated_runs(
    benchmark: Benchmark, folders: Folders, runs: Sequence[RunResult]
) -> list[RunResult]:
    """Runs in a table of another config, other films or another epoch than they would have today.

    It writes nothing: folds that the work dir lacks, or has of other films, are made in a temporary one.

    Args:
        benchmark (Benchmark): The benchmark.
        folders (Folders): Where it is run, with its films.
        runs (Sequence[RunResult]): All runs that there are.

    Returns:
        list[RunResult]: Those of the table, and of the searches that chose their values.
    """
    counted = []
    for name, own in final_runs(benchmark, runs).items():
        method = benchmark.methods[name]
        searched = len(benchmark.values(method)) > 1
        chosen_by = searched_runs(benchmark, method, runs) if searched else []
        counted += [*own, *(run for run in chosen_by if run not in own)]

    def is_current(run: RunResult, folders: Folders) -> bool:
        method = benchmark.methods[run.method]
        try:
            job = method_run(benchmark, folders, method, run.seed, run.value, run.fold)
            return job.is_current(run)
        except (FileNotFoundError, ValueError):
            return False  # it could not be made today

    with tempfile.TemporaryDirectory() as scratch:
        if any(run.fold is not None for run in counted):
            with suppress(FileNotFoundError, ValueError):
                if not _has_folds(benchmark, folders):
                    folders = replace(folders, work_dir=Path(scratch))
                    make_folds(benchmark, folders, lambda line: None)
        return [run for run in counted if not is_current(run, folders)]


def _known(
    folders: Folders, jobs: Sequence[MethodRun], report: Report
) -> tuple[dict[str, RunResult], list[MethodRun]]:
    """What the benchmark's file has of jobs, and the other jobs."""
    file = folders.results / RUNS_FILE
    published = {run.name: run for run in read_runs(folders.results)} if file.is_file() else {}
    results, left = {}, []
    for job in jobs:
        for run in published.values():
            check_benchmark(run, job.benchmark.name, file, '--results')
        known = published.get(job.name)
        if known is not None and job.is_current(known):
            results[job.name] = known
            continue
        left.append(job)
        if known is not None:
            report(f'{job.name}: {file} has it from another config, other films or another epoch')
    # before anything is trained
    for job in left:
        job.check()
    return results, left


def _wanted(values: dict | list) -> Iterator[tuple[dict | list, Any, int]]:
    """Where a config asks for a supervised model: what holds the place, its key, how many seeds on."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (dict, list)):
            yield from _wanted(value)
        elif isinstance(value, str) and (match := PRETRAINED.fullmatch(value)):
            yield values, key, int(match[1] or 0)


def _pretrained(
    jobs: Sequence[MethodRun], folders: Folders, executor: Executor, report: Report
) -> list[MethodRun]:
    """Jobs with the supervised models of their seed, and of others, which are trained first."""
    starts_of = sorted(
        {
            (job.seed + later, job.fold)
            for job in jobs
            if job.method.pretrained
            for later in {0, *(later for _, _, later in _wanted(job.cfg._cfg_dict))}
        },
        key=lambda one: str(one),
    )
    pretrainings = []
    for seed, fold in starts_of:
        benchmark, name = jobs[0].benchmark, run_name('pretraining', seed, None, fold)
        assert benchmark.pretraining is not None
        cfg = benchmark.build_config(benchmark.pretraining, folders.repository, seed)
        fingerprint = run_fingerprint(folders.data_root, [cfg])
        if fold is not None:
            fingerprint = _set_fold(cfg, folders, fold, fingerprint)
        pretrainings.append(
            TrainingJob(name, folders.work_dir / name, cfg, fingerprint, folders.tools)
        )
    starts = dict(zip(starts_of, zip(pretrainings, executor.run(pretrainings, report))))

    def checkpoint_of(seed: int, fold: int | None) -> str:
        pretraining, training = starts[seed, fold]
        return str(pretraining.work_dir / training.checkpoint)

    started = []
    for job in jobs:
        if job.method.pretrained:
            job.cfg.load_from = checkpoint_of(job.seed, job.fold)
            for place, key, later in list(_wanted(job.cfg._cfg_dict)):
                place[key] = checkpoint_of(job.seed + later, job.fold)
            job = replace(job, start_steps=starts[job.seed, job.fold][1].steps)
        started.append(job)
    return started
