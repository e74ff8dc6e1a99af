# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""All folds: trained, validated, and tested on the hold-out films."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.engine.runner.ensemble import write_ensemble
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.experiments.cross_validation.fold_run import (
    FoldRun,
    Trainer,
    best_checkpoint,
    fold_run,
    train,
)
from mmfrac.experiments.cross_validation.status import FoldStatus, read_status, write_status
from mmfrac.experiments.cross_validation.streaming import evaluate_detectors, frac_definitions
from mmfrac.experiments.cross_validation.summary import Summary, summarise
from mmfrac.experiments.launching import locked
from mmfrac.preparation.splits.folds import read_folds
from mmfrac.utils.io import AtomicLocalBackend

VAL_RECORDS = 'val_records.json'


@dataclass(frozen=True)
class CrossValidation:
    """A cross-validation that is done.

    Attributes:
        summary (Summary): What came out.
        checkpoints (list[Path]): Best model of each fold.
        written (list[Path]): Config and checkpoint of the ensemble, where there is one.
    """

    summary: Summary
    checkpoints: list[Path]
    written: list[Path]


def cross_validate(
    cfg: Config,
    folds_dir: Path,
    work_dir: Path,
    trainer: Trainer,
    folds: Sequence[int] | None = None,
    report: Callable[[str], Any] = print,
) -> CrossValidation | None:
    """Train and evaluate the folds of a config (paper, section 2.4).

    Each fold's best model by validation AUROC is evaluated on its validation films, then all of them,
    and the mean of their maps, on the hold-out films. What is done is not done again, and a fold that
    was interrupted is resumed.

    Args:
        cfg (Config): Training config.
        folds_dir (Path): Folds of ``tools/split_folds.py``.
        work_dir (Path): Gets a folder a fold, ``holdout/`` and ``ensemble/``.
        trainer (Trainer): How folds are trained.
        folds (Sequence[int], optional): Folds to work on. Defaults to all.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        CrossValidation | None: None as long as other folds are not done.

    Raises:
        FoldError: If training failed.
        ValueError: If the work dir holds another cross-validation, or another process works in it.
    """
    about = read_folds(folds_dir)
    unknown = sorted(set(folds or ()) - set(range(about['folds'])))
    if unknown:
        raise ValueError(f'{folds_dir} has no fold {unknown}, it has {about["folds"]}')
    parts = ['val', 'test'] if 'test' in about['sizes'] else ['val']
    definitions = frac_definitions(
        {f'{part}_evaluator': cfg[f'{part}_evaluator'] for part in parts}
    )
    # a fold's records end where its own FPPI passes this, so pooled ones are exact up to FPPI 2 at least
    max_fppi = 2.0 * max(1.0, definitions.highest_fppi) * about['folds']
    runs = [
        fold_run(cfg, folds_dir, fold, work_dir, trainer.options) for fold in range(about['folds'])
    ]
    for run in runs:
        _check_fingerprint(run)
    for run in runs:
        if folds is None or run.fold in folds:
            with locked(run.work_dir) as lock:
                _finish(run, trainer, lock, max_fppi, report)
    statuses = [read_status(run.work_dir) for run in runs]
    done = [s for s in statuses if s is not None and s.state == 'validated']
    if len(done) < len(runs):
        left = [run.fold for run, s in zip(runs, statuses) if s not in done]
        report(f'folds {left} are not done yet; the last one to finish makes the summary')
        return None
    checkpoints = [run.work_dir / status.checkpoint for run, status in zip(runs, done)]
    validation = [_read(run.work_dir / VAL_RECORDS) for run in runs]
    hold_out: list[RecordSet] = []
    ensemble, written = None, []
    if 'test' in about['sizes']:
        with locked(work_dir / 'holdout'):
            files = _test(runs, checkpoints, work_dir, max_fppi, report)
        hold_out = [_read(file) for file in files[: len(runs)]]
        if len(files) > len(runs):
            ensemble = _read(files[-1])
            written = [work_dir / 'ensemble' / name for name in ('ensemble.py', 'ensemble.pth')]
    epochs = [status.epoch for status in done]
    summary = summarise(validation, hold_out, ensemble, epochs)
    return CrossValidation(summary, checkpoints, written)


def _check_fingerprint(run: FoldRun) -> None:
    status = read_status(run.work_dir)
    if status is not None and status.fingerprint != run.fingerprint:
        raise ValueError(
            f'{run.work_dir} was made from another config, other films or other options: give another '
            '--work-dir, or remove that folder'
        )


def _finish(
    run: FoldRun, trainer: Trainer, lock: int, max_fppi: float, report: Callable[[str], Any]
) -> None:
    status = read_status(run.work_dir)
    if status is None or status.state == 'training':
        report(f'fold {run.fold}: {"training" if status is None else "training goes on"}')
        write_status(run.work_dir, FoldStatus('training', run.fingerprint))
        train(run, trainer, lock)
        best, epoch = best_checkpoint(run.work_dir)
        status = FoldStatus('trained', run.fingerprint, best.name, epoch)
        write_status(run.work_dir, status)
    if status.state == 'trained':
        report(f'fold {run.fold}: validating {status.checkpoint}')
        best = run.work_dir / status.checkpoint
        evaluate_detectors(run.cfg, 'val', [best], [run.work_dir / VAL_RECORDS], max_fppi)
        write_status(run.work_dir, replace(status, state='validated'))
    report(f'fold {run.fold}: done, best epoch {status.epoch}')


def _test(
    runs: Sequence[FoldRun],
    checkpoints: Sequence[Path],
    work_dir: Path,
    max_fppi: float,
    report: Callable[[str], Any],
) -> list[Path]:
    """Records of the hold-out films of each fold's model, then of the ensemble where there is one."""
    folder = work_dir / 'holdout'
    made_from = [f'{run.fingerprint} {path.name}' for run, path in zip(runs, checkpoints)]
    files = [folder / f'fold{run.fold}.json' for run in runs] + [folder / 'ensemble.json']
    status = folder / 'status.json'
    known = _hold_out_status(status)
    if known is not None and known['made_from'] == made_from:
        return files if known['ensemble'] else files[:-1]
    report('hold-out films: all folds and their ensemble')
    combines = evaluate_detectors(runs[0].cfg, 'test', checkpoints, files, max_fppi)
    if combines:
        write_ensemble(runs[0].cfg, checkpoints, work_dir / 'ensemble')
    else:
        report('no ensemble: the model predicts boxes, no prob maps')
    content = json.dumps(dict(made_from=made_from, ensemble=combines))
    AtomicLocalBackend().put_text(content, status)
    return files if combines else files[:-1]


def _hold_out_status(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding='utf-8'))
        return dict(made_from=known['made_from'], ensemble=known['ensemble'])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is damaged ({error}): remove it, and the hold-out films are evaluated again'
        ) from error


def _read(path: Path) -> RecordSet:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(
            f'{path} is damaged ({error}): remove it and the status.json beside it, and start again'
        ) from error
    return read_records(content, str(path))
