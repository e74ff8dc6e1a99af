# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmengine.config import Config, ConfigDict


def use_tta(cfg: Config) -> None:
    """Make a config test with test-time augmentation, as mmdet's ``--tta`` does, in place.

    Args:
        cfg (Config): With ``tta_model`` and ``tta_pipeline``.

    Raises:
        ValueError: When the config has none.
    """
    missing = [name for name in ('tta_model', 'tta_pipeline') if name not in cfg]
    if missing:
        raise ValueError(
            f'--tta needs {" and ".join(missing)} in the config; configs/_base_/datasets/cxr.py has '
            'them for prob maps, cxr_boxes.py for boxes'
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
