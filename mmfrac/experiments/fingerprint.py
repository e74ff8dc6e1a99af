# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a result depends on, config and images, in a few digits."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.models.detectors.burn_in import ALL
from mmfrac.utils.config import film_sets

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
# of default_hooks, which hold no other choice of a result; others that only check, tell or keep
# (collapse_monitor, checkpoint_guard) count, as they do in the fingerprints of published runs
REPORTING = ('timer', 'logger', 'checkpoint', 'visualization', 'data_check')
ANNOTATIONS = tuple(f'annotations/{part}.json' for part in ('train', 'val', 'test'))


def fingerprint(contents: Iterable[Any], files: Iterable[Path]) -> str:
    """Short hash of settings and files.

    Args:
        contents (Iterable): Parts of configs, options: whatever JSON can hold, the rest by its ``str``.
        files (Iterable[Path]): Annotation files.

    Returns:
        str: 16 hexadecimal digits of the SHA-256 of both, in their order.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def run_fingerprint(data_root: Path, configs: Sequence[Config]) -> str:
    """Fingerprint of the decisive parts of configs, and of the annotation files.

    Those are the files that the configs train, validate and test on, and of ``train.json``, ``val.json``
    and ``test.json`` those that are there.

    Args:
        data_root (Path): Folder of the images.
        configs (Sequence[Config]): What a run is made from.

    Returns:
        str: See ``fingerprint``.

    Raises:
        FileNotFoundError: If a file that a config reads is missing.
    """
    contents = [_decisive(cfg) for cfg in configs]
    read = {
        one['ann_file']
        for cfg in configs
        for part in ('train', 'val', 'test')
        for one in film_sets(cfg.get(f'{part}_dataloader'))
    }
    usual = [name for name in ANNOTATIONS if name in read or (data_root / name).is_file()]
    names = [*usual, *sorted(read - set(ANNOTATIONS))]
    for name in names:
        if not (data_root / name).is_file():
            raise FileNotFoundError(
                f'no annotation file {data_root / name}; is {data_root} the data root?'
            )
    return fingerprint(contents, [data_root / name for name in names])


def _decisive(cfg: Config, left_out: Collection[str] = REPORTING) -> dict[str, Any]:
    """Parts of a config that its result depends on, of ``default_hooks`` all but those left out."""
    content = _with_length_of_burn_in(cfg.to_dict())
    hooks = content.get('default_hooks', {})
    decisive = {key: value for key, value in content.items() if key in DECISIVE} | dict(
        default_hooks={name: hook for name, hook in hooks.items() if name not in left_out}
    )
    # a config without weights of its own has None there, or nothing
    if content.get('load_from') is not None:
        decisive['load_from'] = content['load_from']
    if (content.get('auto_scale_lr') or {}).get('enable'):
        decisive['auto_scale_lr'] = content['auto_scale_lr']
    return decisive


def _with_length_of_burn_in(content: dict[str, Any]) -> dict[str, Any]:
    """A config whose burn-in to the end is written as the number of epochs that it is.

    It is the same training, and runs of before ``'all'`` was a word have the number.
    """
    model = content.get('model') or {}
    semi = model.get('semi_train_cfg') or {}
    epochs = (content.get('train_cfg') or {}).get('max_epochs')
    if semi.get('burn_in_epochs') != ALL or epochs is None:
        return content
    return {
        **content,
        'model': {**model, 'semi_train_cfg': {**semi, 'burn_in_epochs': epochs}},
    }


def fold_fingerprint(cfg: Config, options: Sequence[str]) -> str:
    """Fingerprint of the decisive parts of a config, of options, and of the annotation files.

    The parts are those of ``run_fingerprint``, and ``default_hooks.checkpoint``, which keeps the best
    checkpoint that the result of a fold is of.

    Args:
        cfg (Config): Of a fold.
        options (Sequence[str]): Of ``tools/train.py``.

    Returns:
        str: See ``fingerprint``.
    """
    content = _decisive(cfg, set(REPORTING) - {'checkpoint'})
    files = [
        Path(path)
        for part in ('train', 'val', 'test')
        for path in sorted({one['ann_file'] for one in film_sets(cfg[f'{part}_dataloader'])})
        if os.path.isfile(path)
    ]
    return fingerprint([content, list(options)], files)
