# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Config and checkpoint of an ensemble, from those of its detectors."""

import copy
from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

from mmfrac.models.export import detector_checkpoint

# of a config that only tests
_TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'load_from')


def ensemble_config(cfg: Config, num_detectors: int) -> Config:
    """Config that tests an ensemble.

    Args:
        cfg (Config): What the detectors were trained with.
        num_detectors (int): Detectors.

    Returns:
        Config: The same with an ``EnsembleDetector`` of what predicts (of a teacher-student model: the
        student), without training.
    """
    detector = copy.deepcopy(predicting_model(cfg.model))
    preprocessor = detector.pop('data_preprocessor', None)
    is_maximum = getattr(MODELS.get(detector['type']), 'image_score_is_map_maximum', True)
    cfg = copy.deepcopy(cfg)
    cfg.model = ConfigDict(
        type='EnsembleDetector',
        detectors=[copy.deepcopy(detector) for _ in range(num_detectors)],
        image_score='maximum' if is_maximum else 'mean',
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
    return model.detector if model.type == 'SemiProbMapDetector' else model


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
