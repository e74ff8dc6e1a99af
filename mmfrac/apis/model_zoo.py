# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Trained models that come along: weights, what they were trained on, what they reach, their limits."""

import filecmp
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.models.state_dicts import detector_checkpoint
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.io import atomic_open, check_not_an_input, read_json, write_json, write_text
from mmfrac.utils.packaged import PACKAGED, config_path, packaged_file

MODELS_FOLDER = PACKAGED / 'configs' / 'models'
_WEIGHTS, _ABOUT, _CARD = 'model.pth', 'model.json', 'README.md'
_FIELDS = ('config', 'command', 'data', 'limits', 'metrics', 'sha256')


class Model(NamedTuple):
    """A trained model of ``configs/models``.

    Attributes:
        config (str): Its config, ``mmfrac::NAME``.
        weights (Path): Its checkpoint.
        limits (str): One sentence about what it must not be used for.
        about (dict): All of its ``model.json``.
    """

    config: str
    weights: Path
    limits: str
    about: dict


def limits_of(checkpoint: str | os.PathLike) -> str:
    """What weights that come along, or a copy of their file, must not be used for; '' of all others.

    Args:
        checkpoint (str or PathLike): As ``load_checkpoint_file`` takes it. A file beside which
            ``write_model`` described it is known, too; one that was saved anew is not.

    Raises:
        FileNotFoundError: If it names weights of the package that it does not have.
    """
    path = Path(packaged_file(os.fspath(checkpoint)))
    for folder in (path.parent, *sorted(MODELS_FOLDER.iterdir())):
        # a model.json of another kind describes no model, nor does one of another file
        with suppress(OSError, ValueError):
            model = read_model(folder)
            if filecmp.cmp(path, model.weights, shallow=False):
                return model.limits
    return ''


def read_model(folder: str | os.PathLike) -> Model:
    """Read a model that ``write_model`` wrote.

    Args:
        folder (str or PathLike): Its folder.

    Returns:
        Model: The model.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If its files do not belong together.
    """
    folder = Path(folder)
    about_path, weights = folder / _ABOUT, folder / _WEIGHTS
    if not (about_path.is_file() and weights.is_file()):
        raise FileNotFoundError(f'no model in {folder}: it lacks {_ABOUT} or {_WEIGHTS}')
    about = read_json(about_path)
    missing = [name for name in _FIELDS if not isinstance(about, dict) or name not in about]
    if missing:
        raise ValueError(f'{about_path} is no description of a model: it lacks {missing}')
    if _sha256(weights) != about['sha256']:
        raise ValueError(
            f'{weights} is not the file that {about_path} tells of (SHA-256): install mmfrac anew'
        )
    return Model(about['config'], weights, about['limits'], about)


def write_model(
    folder: str | os.PathLike,
    config: str,
    checkpoint: str | os.PathLike,
    metrics: str | os.PathLike,
    command: str,
    data: str,
    limits: str,
    log: Sequence[dict] = (),
) -> Model:
    """Write a trained model with its card.

    Args:
        folder (str or PathLike): Gets ``model.pth`` (the detector's weights alone, in float16),
            ``model.json`` and ``README.md``, the card.
        config (str): ``mmfrac::NAME`` of the config that it was trained with.
        checkpoint (str or PathLike): Of the training.
        metrics (str or PathLike): JSON that ``tools/test.py --out-json`` wrote.
        command (str): What it was trained with.
        data (str): What it was trained and measured on.
        limits (str): One sentence about what it must not be used for.
        log (Sequence[dict]): One dict of values an epoch. Defaults to none.

    Returns:
        Model: As ``read_model`` reads it.
    """
    config_path(config)  # or an error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_WEIGHTS, _ABOUT, _CARD):
        check_not_an_input(folder / name, checkpoint, metrics)
        if (folder / name).exists() and not (folder / _ABOUT).exists():
            raise ValueError(
                f'{folder / name} is there, and no {_ABOUT} of a published model: name another folder'
            )
    full = load_checkpoint_file(os.fspath(checkpoint), map_location='cpu')
    weights = detector_checkpoint(full)
    weights['state_dict'] = {
        # half the size; of these values 11 bits matter
        name: value.half() if value.is_floating_point() else value
        for name, value in weights['state_dict'].items()
    }
    with atomic_open(folder / _WEIGHTS, 'wb') as file:
        torch.save(weights, file)
    values = read_json(metrics)
    values = values.get('metrics', values)
    about = dict(
        config=config,
        command=command,
        data=data,
        limits=limits,
        metrics={name.split('/')[-1]: round(float(value), 4) for name, value in values.items()},
        log=list(log),
        versions=installed_versions(),
        sha256=_sha256(folder / _WEIGHTS),
    )
    write_json(folder / _ABOUT, about)
    write_text(folder / _CARD, card(folder.name, about))
    return read_model(folder)


def card(name: str, about: dict) -> str:
    """Model card in Markdown.

    Args:
        name (str): Name of the model.
        about (dict): Content of its ``model.json``.
    """
    figures = [(key, value) for key, value in about['metrics'].items() if value == value]
    epochs = about.get('log', [])
    columns = sorted({key for one in epochs for key in one} - {'epoch'})
    lines = [
        f'# {name}',
        '',
        f'**{about["limits"]}**',
        '',
        f'- Config: `{about["config"]}`',
        f'- Trained with: `{about["command"]}`',
        f'- Data: {about["data"]}',
        f'- Weights: `{_WEIGHTS}`, the detector alone, float16, loads with `weights_only=True`',
        f'- SHA-256: `{about["sha256"]}`',
        '- Versions: ' + ', '.join(f'{key} {value}' for key, value in about['versions'].items()),
        '',
        '| metric | test images |',
        '|---|---|',
        *(f'| {key} | {value:.3f} |' for key, value in figures),
    ]
    if epochs:
        lines += ['', '| epoch | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|']
        for one in epochs:
            cells = [f'{one[key]:.4g}' if key in one else '' for key in columns]
            lines.append(f'| {one["epoch"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def model_table(folder: str | os.PathLike = MODELS_FOLDER) -> str:
    """Table of all models below a folder, in Markdown.

    Args:
        folder (str or PathLike): Defaults to that of the package.
    """
    lines = [
        '| model | data | AUROC | FROC | Recall@0.1 | what it must not be used for |',
        '|---|---|---|---|---|---|',
    ]
    for path in sorted(Path(folder).glob(f'*/{_ABOUT}')):
        about = read_model(path.parent).about
        values = [f'{about["metrics"][name]:.3f}' for name in ('AUROC', 'FROC', 'Recall@0.1')]
        name = path.parent.name
        lines.append(
            f'| [{name}](models/{name}/README.md) | {about["data"]} | {" | ".join(values)} | '
            f'{about["limits"]} |'
        )
    return '\n'.join(lines)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
