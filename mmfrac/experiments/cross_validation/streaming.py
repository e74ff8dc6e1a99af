# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Evaluation film by film: records are kept, maps are not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tqdm import tqdm

from mmfrac.engine.runner.ensemble import build_ensemble
from mmfrac.evaluation.definitions import Definitions, common_definitions
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.utils.config import type_name

# what a FracMetric of a config may be told to write
_FILES = ('out_file', 'records_file')


def frac_options(evaluator: Any) -> dict:
    """Options of the ``FracMetric`` in an evaluator's config.

    Args:
        evaluator (Any): Config of one metric or a list of them.

    Returns:
        dict: Its arguments, without type and files.

    Raises:
        ValueError: If it has none.
    """
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    for metric in metrics:
        if metric and type_name(metric) == 'FracMetric':
            return {key: metric[key] for key in metric if key not in ('type', *_FILES)}
    raise ValueError('cross-validation needs a FracMetric in val_evaluator and test_evaluator')


def frac_definitions(evaluators: Mapping[str, Any]) -> Definitions:
    """Definitions of the ``FracMetric`` in the evaluators of a cross-validation, which must agree.

    Args:
        evaluators (Mapping[str, Any]): Config of an evaluator by its name.

    Returns:
        Definitions: Of all of them.

    Raises:
        ValueError: If one has none, or two of them differ.
    """
    built = {
        name: METRICS.build(dict(frac_options(one), type='FracMetric'))
        for name, one in evaluators.items()
    }
    return common_definitions([(name, metric.definitions) for name, metric in built.items()])


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
