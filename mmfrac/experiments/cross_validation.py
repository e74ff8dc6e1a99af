# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""All folds: trained, validated, and tested on the hold-out images (paper, section 2.4)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.experiments.executors import Executor, LocalExecutor
from mmfrac.experiments.fingerprint import fold_fingerprint
from mmfrac.experiments.fold_summary import FoldSummary, summarise_folds
from mmfrac.experiments.hold_out import HoldOut
from mmfrac.experiments.jobs import (
    RESULT_FILE,
    EvaluatedJob,
    Report,
    Tools,
    Training,
    frac_definitions,
)
from mmfrac.experiments.results import read_result
from mmfrac.preparation.splits.folds import check_folds, read_folds
from mmfrac.utils.config import set_fold

BEST = 'best_frac_AUROC_*.pth'


@dataclass(frozen=True)
class FoldResult:
    """One fold.

    Attributes:
        fingerprint (str): Of its config and its annotation files.
        checkpoint (str): Best model by validation AUROC, in the work dir.
        epoch (int): Its epoch.
        records (dict): Of its validation images, see ``mmfrac.evaluation.metrics.files``.
    """

    fingerprint: str
    checkpoint: str
    epoch: int
    records: dict[str, Any]


@dataclass(frozen=True)
class Fold(EvaluatedJob):
    """Training of one fold; its best model is evaluated on its validation images."""

    begins_anew = False
    part = 'val'
    result_type = FoldResult

    def choose(self, training: Training) -> tuple[Path, int]:
        """See ``best_checkpoint``."""
        return best_checkpoint(self.work_dir)

    def result(
        self,
        training: Training,
        checkpoint: Path,
        epoch: int,
        metrics: dict[str, float],
        records: dict[str, Any],
    ) -> FoldResult:
        """See ``EvaluatedJob``."""
        return FoldResult(self.fingerprint, checkpoint.name, epoch, records)

    def summary(self, result: FoldResult) -> str:
        """See ``EvaluatedJob``."""
        return f'done, best epoch {result.epoch}'


@dataclass(frozen=True)
class CrossValidation:
    """A cross-validation that is done.

    Attributes:
        summary (FoldSummary): What came out.
        checkpoints (list[Path]): Best model of each fold.
        written (list[Path]): Config and checkpoint of the ensemble, where there is one.
    """

    summary: FoldSummary
    checkpoints: list[Path]
    written: list[Path]


def cross_validate(
    cfg: Config,
    folds_dir: Path,
    work_dir: Path,
    tools: Tools,
    folds: Sequence[int] | None = None,
    executor: Executor | None = None,
    report: Report = print,
) -> CrossValidation | None:
    """Train and evaluate the folds of a config (paper, section 2.4).

    Each fold's best model by validation AUROC is evaluated on its validation images, then all of them,
    and the mean of their maps, on the hold-out images. What is done is not done again, a fold that was
    interrupted is resumed, one that another process works on is waited for.

    Args:
        cfg (Config): Training config.
        folds_dir (Path): Folds of ``tools/split_folds.py``.
        work_dir (Path): Gets a folder a fold, ``holdout/`` and ``ensemble/``.
        tools (Tools): How folds are trained.
        folds (Sequence[int], optional): Folds to work on. Defaults to all.
        executor (Executor, optional): Runs the jobs. Defaults to None: here, one at a time.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        CrossValidation | None: None as long as other folds are not done.

    Raises:
        JobError: If a training or an evaluation failed.
        ValueError: If the work dir holds another cross-validation, or the folds were changed, see
            ``check_folds``.
    """
    executor = executor or LocalExecutor()
    about = read_folds(folds_dir)
    check_folds(folds_dir, about)
    for note in about.get('notes', ()):
        report(f'note: {note}')
    unknown = sorted(set(folds or ()) - set(range(about['folds'])))
    if unknown:
        raise ValueError(f'{folds_dir} has no fold {unknown}, it has {about["folds"]}')
    parts = ['val', 'test'] if 'test' in about['sizes'] else ['val']
    definitions = frac_definitions(
        {f'{part}_evaluator': cfg[f'{part}_evaluator'] for part in parts}
    )
    # a fold's records end where its own FPPI passes this, so pooled ones are exact up to FPPI 2 at least
    max_fppi = 2.0 * max(1.0, definitions.highest_fppi) * about['folds']
    jobs = [
        fold_job(cfg, folds_dir, fold, work_dir, tools, max_fppi) for fold in range(about['folds'])
    ]
    for job in jobs:
        job.check()
    executor.run([job for fold, job in enumerate(jobs) if folds is None or fold in folds], report)
    left = [fold for fold, job in enumerate(jobs) if not (job.work_dir / RESULT_FILE).is_file()]
    if left:
        report(f'folds {left} are not done yet; the last one to finish makes the summary')
        return None
    results = [read_result(FoldResult, job.work_dir / RESULT_FILE) for job in jobs]
    checkpoints = [job.work_dir / result.checkpoint for job, result in zip(jobs, results)]
    validation = [
        read_records(result.records, str(job.work_dir / RESULT_FILE))
        for job, result in zip(jobs, results)
    ]
    hold_out: list[RecordSet] = []
    ensemble, written = None, []
    if 'test' in about['sizes']:
        evaluation = HoldOut(
            cfg=jobs[0].cfg,
            checkpoints=checkpoints,
            fingerprints=[job.fingerprint for job in jobs],
            work_dir=work_dir,
            max_fppi=max_fppi,
        )
        (has_ensemble,) = executor.run([evaluation], report)
        hold_out, ensemble = evaluation.read(has_ensemble)
        if has_ensemble:
            written = [work_dir / 'ensemble' / name for name in ('ensemble.py', 'ensemble.pth')]
    epochs = [result.epoch for result in results]
    summary = summarise_folds(validation, hold_out, ensemble, epochs)
    return CrossValidation(summary, checkpoints, written)


def fold_job(
    cfg: Config, folds_dir: Path, fold: int, work_dir: Path, tools: Tools, max_fppi: float
) -> Fold:
    """A fold of a config.

    Args:
        cfg (Config): Training config.
        folds_dir (Path): Folds of ``tools/split_folds.py``.
        fold (int): Number.
        work_dir (Path): Of the cross-validation.
        tools (Tools): How it is trained.
        max_fppi (float): FPPI up to which its records are exact.

    Returns:
        Fold: The fold.
    """
    cfg = copy.deepcopy(cfg)
    set_fold(cfg._cfg_dict, folds_dir, fold)
    folder = work_dir / f'fold{fold}'
    cfg.work_dir, cfg.launcher = str(folder), 'none'
    fingerprint = fold_fingerprint(cfg, tools.train_options)
    return Fold(f'fold {fold}', folder, cfg, fingerprint, tools, max_fppi)


def best_checkpoint(work_dir: Path) -> tuple[Path, int]:
    """Checkpoint of the best validation AUROC, and its epoch.

    A run that was killed may leave two: the score that is stored in them decides.

    Args:
        work_dir (Path): Of a fold.

    Returns:
        tuple[Path, int]: File and epoch.

    Raises:
        FileNotFoundError: If there is none.
    """
    scored = []
    for path in sorted(work_dir.glob(BEST)):
        checkpoint = load_checkpoint_file(path, map_location='cpu')
        score = checkpoint['message_hub']['runtime_info']['best_score']
        epoch = checkpoint['meta']['epoch']
        scored.append((float(score), -epoch, path))
    if not scored:
        raise FileNotFoundError(
            f'{work_dir} has no {BEST}: the config must validate and keep the best model, '
            "default_hooks.checkpoint.save_best='frac/AUROC'"
        )
    _, epoch, best = max(scored)
    return best, -epoch
