# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.engine.hooks.checkpoint_guard_hook import check_state_dict
from mmfrac.engine.runner.checkpoint_file import load_checkpoint_file
from mmfrac.engine.runner.ensembling import ensemble_checkpoint, ensemble_config, predicting_weights
from mmfrac.models.detectors.ensemble_detector import EnsembleDetector
from mmfrac.utils.io import AtomicLocalBackend

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
        ValueError: When a checkpoint is that of another model.
    """
    build_ensemble(cfg, checkpoints)  # refuses what does not fit
    loaded = [load_checkpoint_file(path, map_location='cpu') for path in checkpoints]
    content = io.BytesIO()
    torch.save(ensemble_checkpoint(loaded), content)
    config_file, weights_file = Path(out_dir) / 'ensemble.py', Path(out_dir) / 'ensemble.pth'
    backend = AtomicLocalBackend()
    backend.put(content.getvalue(), weights_file)
    config = ensemble_config(cfg, len(checkpoints))
    config.work_dir = os.fspath(out_dir)
    backend.put_text(config.pretty_text, config_file)
    return config_file, weights_file
