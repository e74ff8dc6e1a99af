# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A config from disk, and changes that run through a whole config."""

import os
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from mmengine.config import Config, ConfigDict

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def load_config(path: str | os.PathLike, needs_model: bool = True) -> Config:
    """Load a config.

    Args:
        path (str or PathLike): Config file.
        needs_model (bool): Whether it must have a ``model``. Defaults to True.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file, or one of its bases is missing.
        ValueError: If it is no config, or lacks a model.
    """
    file = os.fspath(path)
    if not os.path.isfile(file):
        raise FileNotFoundError(f'no config file {file}; the configs of mmfrac are below configs/')
    if os.path.splitext(file)[1] not in _SUFFIXES:
        raise ValueError(f'{file} is no config: its name must end with one of {_SUFFIXES}')
    try:
        cfg = Config.fromfile(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'config {file}: {error}; look at its _base_') from error
    except SyntaxError as error:
        # mmengine parses a text that has no name: it may be that of a base
        line = (error.text or '').strip()
        raise ValueError(
            f'config {file} or a base of it: {error.msg} in line {error.lineno}: {line}'
        ) from error
    except (AttributeError, KeyError, NameError, TypeError) as error:
        raise ValueError(f'config {file}: {type(error).__name__}: {error}') from error
    if needs_model and not isinstance(cfg.get('model'), dict):
        raise ValueError(
            f"config {file} has no model=dict(...); write _base_ = '...' with one of configs/ above it"
        )
    return cfg


def merge_config_file(base: ConfigDict, path: str | Path) -> None:
    """Merge a file of changes into a config, in place.

    mmengine refuses two ``_base_`` files that set the same key, so a method cannot be a second base.
    A file of changes is written like a child config without its ``_base_`` line: what it sets is
    merged into the config at hand, ``_delete_=True`` included, and it can read that config as
    ``_base_``. So one file serves every base::

        _base_ = '../frac_ssl.py'
        from mmfrac.utils.config import merge_config_file

        merge_config_file(_base_, '{{ fileDirname }}/../_base_/methods/mean_teacher.py')

    Args:
        base (ConfigDict): ``_base_`` of a config file, or ``cfg._cfg_dict`` of a loaded ``Config``.
        path (str | Path): File of changes, e.g. of ``configs/_base_/methods/``.

    Raises:
        FileNotFoundError: When there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(one.name for one in file.parent.glob('*.py'))
        raise FileNotFoundError(
            f'no config file {file}; {file.parent} holds {", ".join(near) or "no config"}'
        )
    names: dict[str, Any] = {'_base_': base}
    exec(compile(file.read_text(encoding='utf-8'), str(file), 'exec'), names)
    base.merge(
        {
            key: value
            for key, value in names.items()
            if not key.startswith('_') and not isinstance(value, (FunctionType, ModuleType))
        }
    )


def set_img_scale(node: Any, img_scale: tuple[int, int]) -> None:
    """Set the input size of every pipeline in a config, in place.

    The scales of test-time augmentation keep their ratio to the input size.

    Args:
        node (Any): Config, or any dict or list in it: each ``Resize``, ``Pad`` and
            ``PadRadiograph`` below it is changed.
        img_scale (tuple): ``(width, height)`` px of the square network input.
    """
    _set_img_scale(node, img_scale, None, set())


def _set_img_scale(
    node: Any, img_scale: tuple[int, int], old_scale: tuple[int, int] | None, done: set[int]
) -> None:
    # pipelines share their steps: a step that is scaled twice would be scaled too much
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, dict):
        old_scale = node.get('img_scale') or old_scale
        if node.get('type') == 'Resize' and node.get('scale') is not None:
            ratios = [s / old for s, old in zip(node['scale'], old_scale or node['scale'])]
            node['scale'] = tuple(round(r * new) for r, new in zip(ratios, img_scale))
        elif node.get('type') in ('Pad', 'PadRadiograph') and node.get('size') is not None:
            node['size'] = img_scale
        if 'img_scale' in node:
            node['img_scale'] = img_scale
    for child in _children(node):
        _set_img_scale(child, img_scale, old_scale, done)


def set_data_root(node: Any, data_root: str) -> None:
    """Set the data root of every data set in a config, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        data_root (str): Folder of ``images/`` and ``annotations/``.
    """
    if isinstance(node, dict) and 'data_root' in node:
        node['data_root'] = data_root
    for child in _children(node):
        set_data_root(child, data_root)


def set_label_fraction(cfg: dict, fraction: float, seed: int = 0, rest: str = 'P_pub') -> None:
    """Train with a share of the boxes: set ``label_fraction`` of every training set, in place.

    Args:
        cfg (dict): Config with ``train_dataloader``.
        fraction (float): Share of the boxes, in (0, 1], see ``LabelFraction``.
        seed (int): Which patients keep theirs. Defaults to 0.
        rest (str): What becomes of the others' films: 'P_pub' or 'drop'. Defaults to 'P_pub'.
    """
    for dataset in film_sets(cfg['train_dataloader']):
        dataset['label_fraction'] = dict(fraction=fraction, seed=seed, rest=rest)


def set_fold(cfg: dict, folder: str | os.PathLike, fold: int) -> None:
    """Train, validate and test on the files of a fold, in place.

    Args:
        cfg (dict): Config with ``train_dataloader``, ``val_dataloader``, ``test_dataloader``.
        folder (str or PathLike): Folds of ``tools/split_folds.py``. Where it has no ``test.json`` the
            test films are left as they are.
        fold (int): Number of the fold.

    Raises:
        FileNotFoundError: If there is no such fold.
        ValueError: If training reads several annotation files, or one of several data roots.
    """
    sources = {
        (one.get('data_root'), one['ann_file']) for one in film_sets(cfg['train_dataloader'])
    }
    if len(sources) > 1:
        raise ValueError(
            f'training reads {sorted(map(str, sources))}, and a fold has one train.json: split all '
            'films of one data root together'
        )
    for part in ('train', 'val', 'test'):
        name = 'test.json' if part == 'test' else f'fold{fold}/{part}.json'
        path = os.path.abspath(os.path.join(folder, name))
        if not os.path.isfile(path):
            if part == 'test':
                continue
            raise FileNotFoundError(f'no fold {fold} in {folder}: {path} is missing')
        for key in (f'{part}_dataloader', f'{part}_evaluator'):
            for one in film_sets(cfg.get(key)):
                one['ann_file'] = path


def film_sets(node: Any) -> list[dict]:
    """Configs of what reads an annotation file below a dataloader or an evaluator.

    Args:
        node (Any): Dataloader, evaluator, or any dict or list in it.

    Returns:
        list[dict]: Those with ``ann_file``, also inside ``ConcatDataset`` and the like.
    """
    if isinstance(node, dict) and 'ann_file' in node:
        return [node]
    return [found for child in _children(node) for found in film_sets(child)]


def keep_only(node: dict, *names: str) -> None:
    """Drop all other settings of a config, in place.

    A config of mmdet brings data, schedule and hooks besides the model; a config that inherits the model
    alone calls this with its ``_base_``.

    Args:
        node (dict): Config.
        *names (str): Settings that stay.

    Raises:
        ValueError: When one of them is not there.
    """
    missing = [name for name in names if name not in node]
    if missing:
        raise ValueError(f'the config has no {missing}; it has {sorted(node)}')
    for name in set(node) - set(names):
        del node[name]


def change_transform(node: Any, name: str, **changes: Any) -> None:
    """Change a transform in every pipeline of a config, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        name (str): ``type`` of the transform.
        **changes (Any): Options to set; ``type`` puts another transform in its place.
    """
    if isinstance(node, dict) and node.get('type') == name:
        node.update(changes)
    for child in _children(node):
        change_transform(child, name, **changes)


def set_film_cache(node: Any, folder: str | os.PathLike) -> None:
    """Let every ``CXRDataset`` in a config read its films from a film cache, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        folder (str or PathLike): Folder that ``tools/cache_films.py`` wrote.

    Raises:
        ValueError: If there is no ``CXRDataset``.
    """
    datasets = [one for one in film_sets(node) if is_cxr_dataset(one)]
    if not datasets:
        raise ValueError('film_cache: the config has no CXRDataset that could read from it')
    for dataset in datasets:
        dataset['film_cache'] = os.fspath(folder)


def is_cxr_dataset(node: dict) -> bool:
    """Whether a dict is the config of a ``CXRDataset``."""
    return str(node.get('type')).removeprefix('mmdet.') == 'CXRDataset'


def _children(node: Any) -> list:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, (list, tuple)) else []


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
