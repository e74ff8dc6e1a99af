# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The models of all folds, and their ensemble, on the hold-out images; maps are not kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tqdm import tqdm

from mmfrac.engine.runner.ensemble import build_ensemble, write_ensemble
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.experiments.fingerprint import fingerprint
from mmfrac.experiments.jobs import Processes, Report, frac_options
from mmfrac.experiments.results import read_result, write_result
from mmfrac.utils.lock import locked


@dataclass(frozen=True)
class HoldOutStatus:
    """What was evaluated on the hold-out images.

    Attributes:
        models (list[str]): Fingerprint, checkpoint and digest of its weights, of each fold.
        ensemble (bool): Whether there is an ensemble.
    """

    models: list[str]
    ensemble: bool


@dataclass(frozen=True)
class HoldOut:
    """A job: evaluates the models of all folds and their ensemble, and writes the ensemble.

    Attributes:
        cfg (Config): Of one of the folds.
        checkpoints (list[Path]): Model of each fold.
        fingerprints (list[str]): Of each fold.
        work_dir (Path): Gets ``holdout/`` and ``ensemble/``.
        max_fppi (float): FPPI up to which the records are exact.
    """

    cfg: Config
    checkpoints: list[Path]
    fingerprints: list[str]
    work_dir: Path
    max_fppi: float

    @property
    def name(self) -> str:
        """Names it in what is reported."""
        return 'hold-out films'

    def run(self, processes: Processes, report: Report = print) -> bool:
        """Evaluate, unless that was done for these models.

        Args:
            processes (Processes): Ends the wait for another process.
            report (Callable): Is given a line for each event. Defaults to ``print``.

        Returns:
            bool: Whether there is an ensemble; detectors that give boxes alone have none.
        """
        folder = self.work_dir / 'holdout'
        # a fold that was trained again may have its best epoch under the same name; weights that were
        # removed when all was done are those of before
        models = [
            f'{one} {path.name} {fingerprint((), [path]) if path.is_file() else ""}'.strip()
            for one, path in zip(self.fingerprints, self.checkpoints)
        ]
        status = folder / 'status.json'
        with locked(folder, report, processes.check):
            known = read_result(HoldOutStatus, status) if status.is_file() else None
            if known is not None and _are_same(known.models, models):
                return known.ensemble
            report('hold-out films: all folds and their ensemble')
            files = [*self._fold_files(), folder / 'ensemble.json']
            combines = evaluate_detectors(self.cfg, 'test', self.checkpoints, files, self.max_fppi)
            if combines:
                write_ensemble(self.cfg, self.checkpoints, self.work_dir / 'ensemble')
            else:
                report('no ensemble: the model predicts boxes, no prob maps')
            write_result(HoldOutStatus(models, combines), status)
        return combines

    def read(self, has_ensemble: bool) -> tuple[list[RecordSet], RecordSet | None]:
        """Results of each fold's model, and of the ensemble where there is one.

        Raises:
            ValueError: If a file is damaged.
        """
        folds = [_read(file) for file in self._fold_files()]
        ensemble = _read(self.work_dir / 'holdout/ensemble.json') if has_ensemble else None
        return folds, ensemble

    def _fold_files(self) -> list[Path]:
        return [self.work_dir / f'holdout/fold{fold}.json' for fold in range(len(self.checkpoints))]


def _are_same(known: list[str], models: list[str]) -> bool:
    # one without a digest is the same with any
    return len(known) == len(models) and all(
        one == model or one.startswith(f'{model} ') for one, model in zip(known, models)
    )


def _read(path: Path) -> RecordSet:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(
            f'{path} is damaged ({error}): remove it and the status.json beside it, and start again'
        ) from error
    return read_records(content, str(path))


@torch.no_grad()
def evaluate_detectors(
    cfg: Config,
    part: str,
    checkpoints: Sequence[Path],
    records_files: Sequence[Path],
    max_fppi: float,
) -> bool:
    """Records of several detectors, and of their ensemble, in one pass over the films.

    Args:
        cfg (Config): What they were trained with.
        part (str): 'val' or 'test', whose films are read.
        checkpoints (Sequence[Path]): Of the detectors.
        records_files (Sequence[Path]): To write, one a detector; one more for the ensemble.
        max_fppi (float): FPPI up to which the records are exact.

    Returns:
        bool: Whether there is an ensemble; detectors that give boxes alone have none.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    ensemble = build_ensemble(cfg, checkpoints, get_device())
    # one process: nothing is gathered, so nothing but the files has to be trimmed
    files_end = dict(records_max_fppi=max_fppi, max_fppi=None)
    options = frac_options(cfg[f'{part}_evaluator']) | files_end
    metrics: list[FracMetric] = [
        METRICS.build(dict(options, type='FracMetric', records_file=str(file)))
        for file in records_files
    ]
    combines = len(metrics) > len(checkpoints)
    loader = Runner.build_dataloader(cfg[f'{part}_dataloader'], seed=0)
    for batch in tqdm(loader, desc=f'{part} films', unit='batch', disable=None):
        data = ensemble.data_preprocessor(batch, False)
        predicted = ensemble.predict_members(data['inputs'], data['data_samples'])
        combines = combines and all('pred_prob_map' in samples[0] for samples in predicted)
        if combines:
            predicted.append(ensemble.combine(predicted))
        for metric, samples in zip(metrics, predicted):
            metric.process(batch, [sample.to_dict() for sample in samples])
    for metric in metrics if combines else metrics[: len(checkpoints)]:
        metric.compute_metrics(metric.results)
    return combines
