# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A config from disk, and changes that run through a whole config."""

import ast
import copy
import difflib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import yaml
from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.config.utils import RemoveAssignFromAST
from mmengine.fileio import load
from mmengine.registry import TRANSFORMS as BASE_TRANSFORMS

from mmfrac.utils.errors import one_line
from mmfrac.utils.io import read_json
from mmfrac.utils.packaged import config_path
from mmfrac.utils.plain_config import is_plain_config, load_plain_config

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def load_config(path: str | os.PathLike, needs_model: bool = True) -> Config:
    """Load a config.

    A Python config is a program, and is run. One of JSON or YAML is data, see
    ``mmfrac.utils.plain_config``.

    Args:
        path (str or PathLike): Config file, or ``mmfrac::NAME`` for one that the package brings along.
        needs_model (bool): Whether it must have a ``model``. Defaults to True.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file, or one of its bases is missing.
        ValueError: If it is no config, lacks a model, or is of JSON or YAML and asks for code.
    """
    file = config_path(path)
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f'no config file {file}; the configs of mmfrac are below configs/, or named mmfrac::NAME'
        )
    if os.path.splitext(file)[1] not in _SUFFIXES:
        raise ValueError(f'{file} is no config: its name must end with one of {_SUFFIXES}')
    try:
        cfg = load_plain_config(file) if is_plain_config(file) else Config.fromfile(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'config {file}: {error}; look at its _base_') from error
    except SyntaxError as error:
        # mmengine parses a text that has no name: it may be that of a base
        line = (error.text or '').strip()
        raise ValueError(
            f'config {file} or a base of it: {error.msg} in line {error.lineno}: {line}'
        ) from error
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f'config {file} or a base of it cannot be read, or holds more than plain data: '
            f'{one_line(error)}'
        ) from error
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError, NameError, StopIteration),
        TypeError,
    ) as error:
        raise ValueError(f'config {file}: {type(error).__name__}: {error}') from error
    except RuntimeError as error:
        # without a word: of mmengine's stand-in for what a pure-Python config imports
        reason = str(error) or (
            'a pure-Python config cannot call a function that it imports; change the config after '
            'Config.fromfile has read it'
        )
        raise ValueError(f'config {file}: {reason}') from error
    _name_merged_files(cfg)
    if needs_model and not isinstance(cfg.get('model'), dict):
        raise ValueError(
            f"config {file} has no model=dict(...); write _base_ = '...' with one of configs/ above it"
        )
    return cfg


def type_name(node: Any) -> str | None:
    """Name of what a config builds, without module or scope.

    ``dict(type='Resize')``, ``dict(type='mmdet.Resize')``, ``dict(type=Resize)`` of a pure-Python config
    (a class, or while that config is read an object that stands for it) and
    ``dict(type='mmdet.datasets.transforms.Resize')`` of such a config that was written to a file are
    all a 'Resize'.

    Args:
        node (Any): Config with ``type``, or what stands behind ``type`` itself.

    Returns:
        str | None: None for a dict without ``type``, and for what is no type.
    """
    # dict.get: a ConfigDict's own would import what a lazy type names
    value = dict.get(node, 'type') if isinstance(node, dict) else node
    if isinstance(value, str):
        return value.rpartition('.')[-1]
    if isinstance(value, (LazyAttr, LazyObject)):
        return str(value)
    return getattr(value, '__name__', None)


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Set options in a config, in place, as ``--cfg-options`` does.

    Args:
        cfg (Config): The config.
        options (Mapping): Values of dotted keys; a number in a key counts in a list.

    Raises:
        ValueError: When a key goes below what is no dict, or does not say which of a list it means.
    """
    wanted: dict[str, Any] = {}
    for key, value in copy.deepcopy(dict(options)).items():
        node, parts = wanted, key.split('.')
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ValueError(f'{key}: another option says {part}={node!r} as a whole')
        node[parts[-1]] = value
    _check_options(wanted, cfg._cfg_dict, '')
    # mmengine takes _delete_ out of what it is given
    cfg.merge_from_dict(copy.deepcopy(dict(options)))


def _check_options(wanted: dict[str, Any], base: Any, prefix: str) -> None:
    """Raise a ``ValueError`` for an option of ``wanted`` that mmengine cannot merge into ``base``."""
    for key, value in wanted.items():
        name, of = f'{prefix}{key}', prefix[:-1]
        if isinstance(base, list):
            if not key.isdigit() or int(key) >= len(base):
                numbers = f'{of}.0 to {of}.{len(base) - 1}' if base else 'none'
                raise ValueError(
                    f'{name}: {of} is a list of {len(base)}, whose items are {numbers}: say which one, '
                    f"or give the whole list as {of}='[...]'"
                )
            if not isinstance(value, dict):
                raise ValueError(
                    f"{name}: an item of a list cannot be replaced: give the whole list as {of}='[...]'"
                )
            below = base[int(key)]
        elif isinstance(base, dict) and dict.__contains__(base, key):
            # dict's own: a ConfigDict's would import what a lazy type names
            below = dict.__getitem__(base, key)
        else:
            continue
        if not isinstance(value, dict) or value.get('_delete_'):
            continue
        if not isinstance(below, (dict, list)):
            raise ValueError(
                f'{name}.{next(iter(value), "...")}: {name} is {below!r}, which has no settings'
            )
        _check_options(value, below, f'{name}.')


_MERGED = 'merged_file_'


def merge_config_file(base: Config | dict, path: str | os.PathLike) -> None:
    """Merge a file of changes into a config, in place.

    mmengine refuses two ``_base_`` files that set the same key, so a method cannot be a second base.
    A file of changes is written like a child config without the ``_base_`` line of one: what it sets is
    merged into the config at hand, ``_delete_=True`` included, and it can read that config as
    ``_base_``. So one file serves every base::

        _base_ = '../frac_ssl.py'
        from mmfrac.utils.config import merge_config_file

        merge_config_file(_base_, '../_base_/methods/mean_teacher.py')

    In it stands what may stand in any config: ``{{ fileDirname }}``, ``{{ _base_.x }}`` and
    ``{{ $NAME:default }}``. A ``_base_`` line of its own names further files of changes (one or a list),
    which are merged before it.

    The config keeps the path of the file as ``merged_file_<its name>``, so that a dumped config names
    all that it came from.

    Args:
        base (Config | dict): ``_base_`` of a config file, or a loaded config.
        path (str | PathLike): File of changes, e.g. of ``configs/_base_/methods/``. A relative path
            begins at the folder of the config that calls this, as one of ``_base_`` does; outside of
            config files at the working directory. ``mmfrac::NAME`` is one that the package brings along.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is a pure-Python config (``read_base``), which mmengine reads apart from
            others, or when files of changes name each other as ``_base_`` in a circle.
    """
    file = os.path.join(_folder_of_calling_config(), config_path(path))
    _merge_file(_dict_of(base), file, None, ())
    if isinstance(base, Config):
        _name_merged_files(base)


def _folder_of_calling_config() -> str:
    # mmengine runs a config with its own path as file name and with _base_ among its globals
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        names = frame.f_globals
        if '__name__' not in names and ('_base_' in names or 'LazyObject' in names):
            return os.path.dirname(frame.f_code.co_filename)
        frame = frame.f_back
    return ''


def _merge_file(base: dict, path: str, scope: str | None, within: tuple[str, ...]) -> None:
    file = os.path.abspath(path)
    if not os.path.isfile(file):
        folder = Path(file).parent
        near = ', '.join(sorted(one.name for one in folder.glob('*.py'))) or 'no config'
        raise FileNotFoundError(f'no config file {file}; {folder} holds {near}')
    if file in within:
        raise ValueError(
            f'files of changes name each other as _base_: {" > ".join([*within, file])}'
        )
    with tempfile.TemporaryDirectory() as temporary:
        text = os.path.join(temporary, os.path.basename(file))
        Config._substitute_predefined_vars(file, text)
        Config._substitute_env_variables(text, text)
        base_variables = Config._pre_substitute_base_vars(text, text)
        for name in Config._get_base_files(text):
            base_file, base_scope = Config._get_cfg_path(name, file)
            _merge_file(base, base_file, base_scope, (*within, file))
        changes = _run(text, file, base) if file.endswith('.py') else load(text)
    changes = {key: value for key, value in changes.items() if not key.startswith('_')}
    if base_variables:
        changes = Config._substitute_base_vars(changes, base_variables, base)
    if scope is not None:
        changes = Config._dict_to_config_dict(ConfigDict(changes), scope)
    _merge(base, changes)
    base[_merged_key(base, file)] = file


def _run(text: str, file: str, base: dict) -> dict[str, Any]:
    code = ast.parse(Path(text).read_text(encoding='utf-8'), file)
    if any(isinstance(node, ast.With) for node in ast.walk(code)):
        raise ValueError(
            f'{file} is a pure-Python config (read_base); a file of changes names its bases as _base_ '
            'and its types as strings'
        )
    names: dict[str, Any] = {'_base_': base}
    exec(compile(RemoveAssignFromAST('_base_').visit(code), file, 'exec'), names)
    return {
        key: value
        for key, value in names.items()
        if not isinstance(value, (FunctionType, ModuleType))
    }


def _merge(base: dict, changes: dict) -> None:
    if isinstance(base, ConfigDict):
        base.merge(changes)
        return
    # of a pure-Python config that is being read: its globals
    merged = ConfigDict(
        {
            key: value
            for key, value in base.items()
            if not key.startswith('__') and not isinstance(value, (FunctionType, ModuleType))
        }
    )
    merged.merge(changes)
    base.update(dict.items(merged))


def _merged_key(base: dict, file: str) -> str:
    key = _MERGED + Path(file).stem
    number = 1
    # another file of the same name
    while base.get(key, file) != file:
        number += 1
        key = f'{_MERGED}{Path(file).stem}_{number}'
    return key


def _name_merged_files(cfg: Config) -> None:
    """Add the merged files to the text of a config, where mmengine keeps that of its bases."""
    text = cfg.text
    for key, file in dict.items(cfg._cfg_dict):
        if key.startswith(_MERGED) and os.path.isfile(file) and f'{file}\n' not in text:
            text = f'{file}\n{Path(file).read_text(encoding="utf-8")}\n{text}'
    object.__setattr__(cfg, '_text', text)


def set_img_scale(node: Any, img_scale: tuple[int, int]) -> None:
    """Set the input size of every pipeline in a config, in place.

    The scales of test-time augmentation keep their ratio to the input size.

    Args:
        node (Any): Config, or any dict or list in it: ``scale``, ``scales`` and ``crop_size`` of each
            transform whose name ends in ``Resize`` or ``Crop``, ``size`` of each ``Pad`` and
            ``PadRadiograph`` below it are changed, and ``img_scale`` where it is set.
        img_scale (tuple): ``(width, height)`` px of the square network input.

    Raises:
        ValueError: When there is none of these transforms, or one has several sizes and nothing says of
            which ``img_scale``.
    """
    img_scale = (img_scale[0], img_scale[1])
    changed = [
        step
        for step, old in _scaled_steps(_dict_of(node), None, set())
        if _scale(step, old, img_scale)
    ]
    if not changed:
        raise ValueError(
            'set_img_scale: no Resize with a scale, no Pad or PadRadiograph with a size in the config; '
            + _transforms_there(node)
        )
    for one in _nodes(node):
        if 'img_scale' in one:
            one['img_scale'] = img_scale


def _scaled_steps(
    node: Any, img_scale: tuple[int, int] | None, done: set[int]
) -> Iterator[tuple[dict, tuple[int, int] | None]]:
    """Dicts of a config with the ``img_scale`` that is in force for each."""
    # pipelines share their steps: a step that is scaled twice would be scaled too much
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, dict):
        img_scale = dict.get(node, 'img_scale') or img_scale
        yield node, img_scale
    for child in _children(node):
        yield from _scaled_steps(child, img_scale, done)


def _scale(step: dict, old: tuple[int, int] | None, new: tuple[int, int]) -> bool:
    name = type_name(step) or ''
    # mmdet's RandomResize and RandomChoiceResize, too, and what is cut from what they give
    keys = dict(Resize=('scale', 'scales'), Crop=('crop_size',))
    given = [
        key
        for end, of_end in keys.items()
        for key in of_end
        if name.endswith(end) and step.get(key) is not None
    ]
    if given == ['crop_size']:
        if any(isinstance(side, float) for side in _pair(step['crop_size'])):
            return False  # shares of the image
        if old is None:
            raise ValueError(
                f'set_img_scale: crop_size of {name} is a part of what size? say img_scale = (width, '
                'height) in the config'
            )
    if given:
        for key in given:
            size = step[key]
            if key == 'scales':
                size = [_pair(one) for one in size]
            step[key] = _scaled(size, old, new, f'{key} of {name}')
        return True
    if name in ('Pad', 'PadRadiograph') and step.get('size') is not None:
        step['size'] = new
        return True
    return False


def _pair(size: Any) -> Sequence[Any]:
    return (size, size) if isinstance(size, int | float) else size


def _scaled(scale: Any, old: tuple[int, int] | None, new: tuple[int, int], name: str) -> Any:
    """A size in px, or each of several, that keeps its ratio to the input size."""
    scale = _pair(scale)
    if all(isinstance(side, int | float) for side in scale):
        sides = zip(scale, old or scale, new)
        return tuple(round(side / before * value) for side, before, value in sides)
    if old is None:
        raise ValueError(
            f'set_img_scale: {name} has several sizes: say img_scale = (width, height) in the config, '
            'which they are made for'
        )
    return [_scaled(one, old, new, name) for one in scale]


def set_data_root(node: Any, data_root: str) -> None:
    """Set the data root of every data set in a config, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        data_root (str): Folder of ``images/`` and ``annotations/``.

    Raises:
        ValueError: When no data set in it has a ``data_root``.
    """
    top = _dict_of(node)
    changed = [one for one in _nodes(top) if 'data_root' in one]
    # the variable of that name alone changes nothing: data sets do not read it
    if not any(one is not top or 'ann_file' in one for one in changed):
        raise ValueError('set_data_root: no data set in the config has a data_root')
    for one in changed:
        one['data_root'] = data_root


def set_label_fraction(cfg: Any, fraction: float, seed: int = 0, rest: str = 'P_pub') -> None:
    """Train with a share of the boxes: set ``label_fraction`` of every training set, in place.

    Args:
        cfg (Any): Config with ``train_dataloader``.
        fraction (float): Share of the boxes, in (0, 1], see ``LabelFraction``.
        seed (int): Which patients keep theirs. Defaults to 0.
        rest (str): What becomes of the others' images: 'P_pub' or 'drop'. Defaults to 'P_pub'.

    Raises:
        ValueError: When training reads no annotation file.
    """
    for dataset in _training_sets(cfg, 'set_label_fraction'):
        dataset['label_fraction'] = dict(fraction=fraction, seed=seed, rest=rest)


def set_fold(cfg: Any, folder: str | os.PathLike, fold: int) -> None:
    """Train, validate and test on the files of a fold, in place.

    Args:
        cfg (Any): Config with ``train_dataloader``, ``val_dataloader``, ``test_dataloader``.
        folder (str or PathLike): Folds of ``tools/split_folds.py``. Where it has no ``test.json`` the
            test images are left as they are.
        fold (int): Number of the fold.

    Raises:
        FileNotFoundError: If there is no such fold.
        ValueError: If training reads no annotation file, several, or one of several data roots, or reads
            one with hidden boxes (``complete_boxes``) that the fold lacks.
    """
    cfg = _dict_of(cfg)
    sources = {(one.get('data_root'), one['ann_file']) for one in _training_sets(cfg, 'set_fold')}
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
        if part == 'train':
            _check_hidden_boxes(cfg, path)
        for key in (f'{part}_dataloader', f'{part}_evaluator'):
            for one in film_sets(cfg.get(key)):
                one['ann_file'] = path


def _check_hidden_boxes(cfg: dict, path: str) -> None:
    """Raise a ``ValueError`` if training reads hidden boxes that the file of a fold lacks."""
    sets = [one for one in film_sets(cfg.get('train_dataloader')) if one.get('complete_boxes')]
    files = {os.path.join(one.get('data_root') or '', one['ann_file']) for one in sets}
    for file in sorted(files):
        if os.path.isfile(file):
            lacking = _positives_by_boxes(path)[False] & _positives_by_boxes(file)[True]
            if lacking:
                raise ValueError(
                    f'training reads the hidden boxes of {file} (complete_boxes), and {path} lacks '
                    f'those of {len(lacking)} images: make folds of that file; the search of a '
                    'benchmark makes none of it, and needs folds=0'
                )


def _positives_by_boxes(path: str) -> dict[bool, set[str]]:
    """File names of the positive images of an annotation file, with boxes (True) and without."""
    content = read_json(path)
    boxed = {box['image_id'] for box in content['annotations']}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for image in content['images']:
        if image.get('label') == 1 or image['id'] in boxed:
            found[image['id'] in boxed].add(image['file_name'])
    return found


def film_sets(node: Any) -> list[dict]:
    """Configs of what reads an annotation file below a dataloader or an evaluator.

    Args:
        node (Any): Dataloader, evaluator, or any dict or list in it.

    Returns:
        list[dict]: Those with ``ann_file``, also inside ``ConcatDataset`` and the like.
    """
    node = _dict_of(node)
    if isinstance(node, dict) and 'ann_file' in node:
        return [node]
    return [found for child in _children(node) for found in film_sets(child)]


def _training_sets(cfg: Any, caller: str) -> list[dict]:
    found = film_sets(_dict_of(cfg).get('train_dataloader'))
    if not found:
        raise ValueError(
            f'{caller}: no data set with an ann_file in train_dataloader; the config has '
            f'{sorted(_dict_of(cfg))}'
        )
    return found


def set_backbone(
    node: Any,
    backbone: dict,
    in_channels: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """Put another backbone into every detector of a config, in place.

    What depends on it follows: the channels that the neck takes (of a detector without neck its own),
    and the mean and std that its weights were trained with.

    Args:
        node (Any): Config, or any dict or list in it.
        backbone (dict): E.g. ``dict(type='TimmBackbone', ...)``.
        in_channels (Sequence[int]): Channels of its levels.
        mean (Sequence[float]): Of an image in [0, 1]; one value for the grey plane.
        std (Sequence[float]): As ``mean``.

    Raises:
        ValueError: When no model in it has a backbone, or none a preprocessor with a mean.
    """
    nodes = _nodes(node)
    detectors = [one for one in nodes if isinstance(one.get('backbone'), dict)]
    preprocessors = [one for one in nodes if 'mean' in one and 'std' in one and 'type' in one]
    if not detectors or not preprocessors:
        what = 'backbone' if not detectors else 'data_preprocessor with mean and std'
        raise ValueError(f'set_backbone: no model in the config has a {what}')
    for one in detectors:
        one['backbone'] = ConfigDict(copy.deepcopy(backbone))
        if isinstance(one.get('neck'), dict):
            one['neck']['in_channels'] = list(in_channels)
        elif 'in_channels' in one:
            one['in_channels'] = in_channels[-1]
    for one in preprocessors:
        one.update(mean=list(mean), std=list(std))


def keep_only(node: Any, *names: str) -> None:
    """Drop all other settings of a config, in place.

    A config of mmdet brings data, schedule and hooks besides the model; a config that inherits the model
    alone calls this with its ``_base_``.

    Args:
        node (Any): Config.
        *names (str): Settings that stay.

    Raises:
        ValueError: When one of them is not there.
    """
    node = _dict_of(node)
    missing = [name for name in names if name not in node]
    if missing:
        raise ValueError(f'the config has no {missing}; it has {sorted(node)}')
    for name in set(node) - set(names):
        del node[name]


def change_transform(node: Any, name: Any, **changes: Any) -> None:
    """Change a transform in every pipeline of a config, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        name (Any): ``type`` of the transform as ``type_name`` reads it: a name, with or without its
            scope, or a class.
        **changes (Any): Options to set; ``type`` puts another transform in its place.

    Raises:
        ValueError: When the transform is not there.
    """
    wanted = type_name(name)
    # found first: a step may be in several pipelines, and be another one after the change
    steps = [step for step in _nodes(node) if type_name(step) == wanted]
    if not steps:
        raise ValueError(
            f'change_transform: no {wanted} in the config; {_transforms_there(node, wanted)}'
        )
    for step in steps:
        step.update(changes)


def fill_stride(cfg: Any) -> None:
    """Tell the targets of a config the stride of its prob map head, in place.

    The stride is set once, ``model = dict(prob_map_head=dict(stride=8))``. Every transform whose option
    ``stride`` defaults to None (``ProbMapTarget``, ``WindowTarget``, one of your own) and is not set
    takes it. The tools do this when they have read a config. A head that sets none leaves all at their
    defaults.

    Args:
        cfg (Any): Config.

    Raises:
        ValueError: When the model has heads of several strides, and a target sets none.
    """
    model = _dict_of(cfg).get('model')
    heads = (dict.get(one, 'prob_map_head') for one in _nodes(model))
    strides = {
        head['stride']
        for head in heads
        if isinstance(head, dict) and head.get('stride') is not None
    }
    # what is below the model builds itself around its head
    inside = {id(node) for node in _nodes(model)}
    steps = [node for node in _nodes(cfg) if id(node) not in inside and _lacks_stride(node)]
    if not strides or not steps:
        return
    if len(strides) > 1:
        raise ValueError(
            f'the model has prob map heads of stride {sorted(strides)}: set the stride of '
            f'{sorted({str(type_name(step)) for step in steps})} yourself'
        )
    for step in steps:
        step['stride'] = min(strides)


def _lacks_stride(step: dict) -> bool:
    kind = dict.get(step, 'type')
    if kind is None or dict.get(step, 'stride') is not None:
        return False
    if not inspect.isclass(kind):
        name = type_name(step)
        kind = TRANSFORMS.module_dict.get(name) or BASE_TRANSFORMS.module_dict.get(name)
    if kind is None:
        return False
    option = inspect.signature(kind).parameters.get('stride')
    return option is not None and option.default is None


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
    return type_name(node) == 'CXRDataset'


def use_tta(cfg: Config) -> None:
    """Make a config test with test-time augmentation, as mmdet's ``--tta`` does, in place.

    Args:
        cfg (Config): With ``tta_model`` and ``tta_pipeline``.

    Raises:
        ValueError: When the config has none, or no test pipeline.
    """
    missing = [name for name in ('tta_model', 'tta_pipeline') if name not in cfg]
    if missing:
        raise ValueError(
            f'--tta needs {" and ".join(missing)} in the config; configs/_base_/datasets/cxr.py has '
            'them for prob maps, cxr_boxes.py for boxes'
        )
    datasets = [one for one in _nodes(cfg.get('test_dataloader')) if 'pipeline' in one]
    if not datasets:
        raise ValueError('--tta: no data set in test_dataloader has a pipeline')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in datasets:
        dataset['pipeline'] = cfg.tta_pipeline


def _dict_of(node: Any) -> Any:
    return node._cfg_dict if isinstance(node, Config) else node


def _children(node: Any) -> list:
    if isinstance(node, dict):
        # dict.items: a ConfigDict's own would import what lazy types name
        return [value for key, value in dict.items(node) if not str(key).startswith('__')]
    return list(node) if isinstance(node, (list, tuple)) else []


def _nodes(node: Any, done: set[int] | None = None) -> list[dict]:
    """Every dict in a config once, itself included."""
    done = set() if done is None else done
    node = _dict_of(node)
    if id(node) in done:
        return []
    done.add(id(node))
    found = [node] if isinstance(node, dict) else []
    for child in _children(node):
        found += _nodes(child, done)
    return found


def _transforms_there(node: Any, wanted: str | None = None) -> str:
    """What the pipelines of a config hold, for a message."""
    pipelines = [
        value
        for one in _nodes(node)
        for key, value in dict.items(one)
        if isinstance(value, (list, tuple)) and 'pipeline' in str(key)
    ]
    names = {type_name(step) for step in _nodes(pipelines or node)} - {None}
    close = difflib.get_close_matches(str(wanted), names, n=1)  # type: ignore[type-var]
    guess = f'did you mean {close[0]}? ' if close else ''
    return f'{guess}there are {", ".join(sorted(map(str, names))) or "no transforms"}'
