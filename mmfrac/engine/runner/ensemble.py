# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An ensemble as one config and one checkpoint, from those of its detectors."""

import copy
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmfrac.engine.hooks.checkpoint_guard_hook import check_state_dict
from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.models.detectors.ensemble_detector import EnsembleDetector
from mmfrac.models.state_dicts import detector_checkpoint
from mmfrac.utils.config import type_name
from mmfrac.utils.io import AtomicLocalBackend, OutputFolder, check_not_an_input

# of a config that only tests
_TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'load_from')


def ensemble_config(cfg: Config, num_detectors: int) -> Config:
    """Config that tests an ensemble.

    Args:
        cfg (Config): What the detectors were trained with.
        num_detectors (int): Detectors.

    Returns:
        Config: The same with an ``EnsembleDetector`` of what predicts (of a teacher-student model: the
        student), without training. Its ``image_score`` is what the detector's class says by
        ``image_score_is_map_maximum``; None where it does not, so that the ensemble asks each detector.
    """
    detector = copy.deepcopy(predicting_model(cfg.model))
    preprocessor = detector.pop('data_preprocessor', None)
    kind = detector['type']
    built = MODELS.get(kind) if isinstance(kind, str) else kind
    is_maximum = getattr(built, 'image_score_is_map_maximum', None)
    image_score = 'maximum' if is_maximum else 'mean'
    cfg = copy.deepcopy(cfg)
    cfg.model = ConfigDict(
        type='EnsembleDetector',
        detectors=[copy.deepcopy(detector) for _ in range(num_detectors)],
        image_score=image_score if isinstance(is_maximum, bool) else None,
        data_preprocessor=preprocessor,
    )
    thresholds = {
        key: value
        for key, value in (detector.get('test_cfg') or {}).items()
        if key in ('component_thr', 'max_per_img')
    }
    if thresholds:
        cfg.model.test_cfg = thresholds
    for key in _TRAINING:
        cfg[key] = None
    cfg.resume = False
    cfg.custom_hooks = []
    return cfg


def ensemble_checkpoint(checkpoints: Sequence[dict]) -> dict:
    """Checkpoint of an ensemble.

    Args:
        checkpoints (Sequence[dict]): Of the detectors; of teacher-student models the student is taken.

    Returns:
        dict: ``state_dict`` and ``meta``.
    """
    state_dict = {
        f'detectors.{index}.{key}': value
        for index, checkpoint in enumerate(checkpoints)
        for key, value in predicting_weights(checkpoint).items()
    }
    meta = checkpoints[0].get('meta', {})
    return dict(
        state_dict=state_dict,
        meta={key: meta[key] for key in ('dataset_meta', 'mmengine_version') if key in meta},
    )


def predicting_model(model: ConfigDict) -> ConfigDict:
    """The part of a model's config that predicts: the student of a ``SemiProbMapDetector``."""
    return model.detector if type_name(model) == 'SemiProbMapDetector' else model


def predicting_weights(checkpoint: dict) -> dict:
    """The weights of that part, under its own names."""
    state_dict = checkpoint.get('state_dict', checkpoint)
    if any(key.removeprefix('module.').startswith('student.') for key in state_dict):
        state_dict = detector_checkpoint(dict(state_dict=state_dict))['state_dict']
    return {
        key.removeprefix('module.'): value
        for key, value in state_dict.items()
        if not key.removeprefix('module.').startswith('data_preprocessor.')
    }


def weights_sha256(checkpoint: dict) -> list[str]:
    """SHA-256 of the weights that predict, which tell models apart whatever their files are called.

    Args:
        checkpoint (dict): Of a detector, of a teacher-student model, whose student counts, or of an
            ensemble.

    Returns:
        list[str]: One; of an ensemble one a detector.
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, value in predicting_weights(checkpoint).items():
        member, name = '', key
        if key.startswith('detectors.'):
            _, member, name = key.split('.', 2)
        parts.setdefault(member, {})[name] = value
    return [_sha256(weights) for weights in parts.values()]


def _sha256(weights: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        if not isinstance(value, torch.Tensor):
            continue
        digest.update(f'{name} {value.dtype} {list(value.shape)}\n'.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


PathLike = str | os.PathLike


def build_ensemble(
    cfg: Config, checkpoints: Sequence[PathLike], device: str | torch.device = 'cpu'
) -> EnsembleDetector:
    """Detectors of one config as an ensemble that predicts.

    Args:
        cfg (Config): What they were trained with.
        checkpoints (Sequence[str or PathLike]): Their files.
        device (str or torch.device): Defaults to 'cpu'.

    Returns:
        EnsembleDetector: In eval mode.

    Raises:
        ValueError: When a checkpoint is that of another model.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(ensemble_config(cfg, len(checkpoints)).model)
    for detector, path in zip(model.detectors, checkpoints):
        weights = predicting_weights(load_checkpoint_file(path, map_location='cpu'))
        check_state_dict(detector, weights, name=os.fspath(path), for_prediction=True)
        detector.load_state_dict(weights, strict=False)
    return model.to(device).eval()


def write_ensemble(
    cfg: Config, checkpoints: Sequence[PathLike], out_dir: PathLike
) -> tuple[Path, Path]:
    """Write an ensemble for ``tools/test.py`` and ``tools/infer.py``.

    Args:
        cfg (Config): What the detectors were trained with.
        checkpoints (Sequence[str or PathLike]): Their files.
        out_dir (str or PathLike): Gets ``ensemble.py`` and ``ensemble.pth``.

    Returns:
        tuple[Path, Path]: Config and checkpoint.

    Raises:
        ValueError: When a checkpoint is that of another model, or a file of these names was not written
            by mmfrac.
    """
    for path in checkpoints:
        check_not_an_input(Path(out_dir) / 'ensemble.pth', path)
    build_ensemble(cfg, checkpoints)  # refuses what does not fit
    loaded = [load_checkpoint_file(path, map_location='cpu') for path in checkpoints]
    content = io.BytesIO()
    torch.save(ensemble_checkpoint(loaded), content)
    output = OutputFolder(out_dir)
    config_file, weights_file = output.path('ensemble.py'), output.path('ensemble.pth')
    backend = AtomicLocalBackend()
    backend.put(content.getvalue(), weights_file)
    config = ensemble_config(cfg, len(checkpoints))
    config.work_dir = os.fspath(out_dir)
    backend.put_text(config.pretty_text, config_file)
    return config_file, weights_file
