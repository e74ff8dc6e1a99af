# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a run is made from: the decisive parts of its configs, and its films."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmfrac.experiments.launching import fingerprint
from mmfrac.utils.config import film_sets

# what a result depends on; of the hooks those that a method brings, not those of every run
DECISIVE = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'val_evaluator',
    'test_dataloader',
    'test_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'randomness',
)
ANNOTATIONS = tuple(f'annotations/{part}.json' for part in ('train', 'val', 'test'))


def fingerprint_of(data_root: Path, configs: Sequence[Config]) -> str:
    """Short hash of the decisive parts of configs, and of the annotation files.

    Those are ``train.json``, ``val.json``, ``test.json`` and whatever else the configs train on.

    Args:
        data_root (Path): Folder of the films.
        configs (Sequence[Config]): What a run is made from.

    Returns:
        str: See ``mmfrac.experiments.launching.fingerprint``.

    Raises:
        FileNotFoundError: If an annotation file is missing.
    """
    contents = [
        {key: value for key, value in cfg.to_dict().items() if key in DECISIVE} for cfg in configs
    ]
    trained_on = {
        one['ann_file'] for cfg in configs for one in film_sets(cfg.get('train_dataloader'))
    }
    names = [*ANNOTATIONS, *sorted(trained_on - set(ANNOTATIONS))]
    for name in names:
        if not (data_root / name).is_file():
            raise FileNotFoundError(
                f'no annotation file {data_root / name}; is {data_root} the data root?'
            )
    return fingerprint(contents, [data_root / name for name in names])
