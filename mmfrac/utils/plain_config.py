# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Configs that are data and no programs: JSON and YAML.

A Python config is a program. One of JSON or YAML comes from anywhere, and runs nothing: it builds only
what is registered, imports only the packages that mmfrac stands on, and inherits only from configs of
its own kind or of these packages.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mmengine.registry
import yaml
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.fileio import load, register_handler
from mmengine.fileio.handlers import YamlHandler
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string, import_modules_from_strings

from mmfrac.utils.io import DuplicateKeyError, leads_outside, parse_json
from mmfrac.utils.packaged import is_packaged

_PACKAGES = ('mmfrac', 'mmdet', 'mmengine', 'mmcv')
# name a type for a registry
_TYPE_KEYS = ('type', 'constructor', 'runner_type')
_SCOPE_KEYS = ('_scope_', 'default_scope')
# mmcv looks these up in its own module
_NMS = ('nms', 'soft_nms', 'nms_match', 'nms_rotated', 'nms_quadri')
# these evaluate their options as Python
_EVALUATING = ('RFSearchHook', 'CameraMotionCompensation')
# read with pickle
_PICKLED_KEYS = ('ann_file', 'proposal_file')
_IDENTIFIER = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*')


class PlainLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):  # type: ignore[misc]
    """YAML of plain data, and of tuples, as MMEngine writes them."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What a node stands for; a ``yaml.YAMLError`` with its line where PyYAML stumbles over it."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            # 2020-13-45 is taken for a date, !!timestamp x for one that it can take apart
            kind = node.tag.rpartition(':')[2]
            raise yaml.constructor.ConstructorError(
                None, None, f'{node.value!r} is no {kind} ({error}): quote text', node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        """A mapping, each key of it once: all but the last of its values would be lost."""
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        seen = set()
        for key, _ in pairs:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key {key.value!r} is there twice', key.start_mark
                )
            seen.update({name} - {None})
        return super().construct_mapping(node, deep)


PlainLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple',
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


# of everything that MMEngine loads, in Python configs, too
@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """MMEngine's reader of YAML, without the tags that build Python objects."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read a file; a ``yaml.YAMLError`` where it holds such a tag, or what would crash a reader."""
        kwargs.setdefault('Loader', PlainLoader)
        text = file.read()
        fault = yaml_fault(text)
        if fault:
            raise yaml.YAMLError(f'it {fault}')
        return yaml.load(text, **kwargs)


# levels, and values with aliases written out, that no config has
_DEEPEST = 100
_MOST_VALUES = 1_000_000


def yaml_fault(text: str | bytes) -> str:
    """What of a YAML text would take a reader's stack, memory or time.

    PyYAML reads nested values by recursion in C, which ends the process where they are nested too
    deeply; a few lines of aliases are billions of values for whoever looks at each.

    Args:
        text (str | bytes): Of a file.

    Returns:
        str: The fault; '' if there is none.

    Raises:
        yaml.YAMLError: If it is no YAML.
    """
    sizes: dict[str, int] = {}  # of what has an anchor
    open_values: list[tuple[str | None, int]] = []  # anchor and size of what is being read
    for event in yaml.parse(text, Loader=PlainLoader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_values.append((event.anchor, 1))
            if len(open_values) > _DEEPEST:
                return f'is nested more than {_DEEPEST} levels deep'
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_values.pop()
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
        if size > _MOST_VALUES:
            return f'holds aliases that stand for more than {_MOST_VALUES} values'
        if size and open_values:
            anchor, before = open_values.pop()
            open_values.append((anchor, before + size))
    return ''


def is_plain_config(file: str | os.PathLike) -> bool:
    """Whether a config is data, by its suffix."""
    return Path(file).suffix.lower() in ('.json', '.yaml', '.yml')


def load_plain_config(file: str) -> Config:
    """Load a config of JSON or YAML, without running anything that it names.

    Args:
        file (str): The config.

    Returns:
        Config: Checked; the modules of its ``custom_imports`` are imported.

    Raises:
        ValueError: If it, or a config that it inherits from, asks for more than data may.
    """
    _check_bases(file, ())
    cfg = Config.fromfile(file, import_custom_modules=False)
    problems = list(_problems(cfg._cfg_dict, ''))
    if problems:
        raise ValueError(
            f'config {file}: {problems[0]}; a config of JSON or YAML runs no code, write a Python '
            'config (.py) for this, which is a program'
        )
    imports = cfg.get('custom_imports')
    if imports:
        import_modules_from_strings(**imports)
    return cfg


def _check_bases(file: str, within: tuple[str, ...]) -> None:
    path = os.path.abspath(file)
    if path in within:
        raise ValueError(f'configs name each other as _base_: {" > ".join([*within, path])}')
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, os.path.basename(path))
        Config._substitute_predefined_vars(path, text)
        Config._substitute_env_variables(text, text)
        Config._pre_substitute_base_vars(text, text)
        if text.lower().endswith('.json'):
            try:
                parse_json(Path(text).read_text(encoding='utf-8'))
            except DuplicateKeyError as error:
                raise ValueError(f'config {file}: {error}') from error
        _check_settings(load(text), file)
        bases = Config._get_base_files(text)
    for name in bases:
        if not isinstance(name, str):
            raise ValueError(f'config {file}: _base_ holds {name!r}, a path is wanted')
        package, separator, scoped = name.partition('::')
        if separator:
            if package not in _PACKAGES or leads_outside(scoped):
                raise ValueError(
                    f'config {file}: _base_ {name!r} is none of {_PACKAGES}; a config of JSON or '
                    'YAML runs no code, and a Python config of another package may'
                )
            continue
        base = os.path.join(os.path.dirname(path), name)
        if is_plain_config(base):
            if not os.path.isfile(base):
                raise FileNotFoundError(f'config {file}: no base {base}')
            _check_bases(base, (*within, path))
        elif not is_packaged(base):
            raise ValueError(
                f'config {file}: its _base_ {name!r} is a Python config, which is a program; one of '
                'JSON or YAML inherits from JSON, YAML and the configs of mmfrac, or becomes a Python '
                'config itself'
            )


def _check_settings(content: Any, file: str) -> None:
    """Raise a ``ValueError`` unless a file holds settings by name, all the way down."""
    if not isinstance(content, dict):
        what = 'nothing' if content is None else f'a value of type {type(content).__name__}'
        raise ValueError(
            f'config {file} holds {what}; settings by name are wanted, with model, or _base_ to inherit'
        )
    for place, key in _keys_without_name(content, ''):
        raise ValueError(
            f'config {file}: the key {key!r} of {place or "the file"} is of type '
            f'{type(key).__name__}, and settings have names: put it in quotation marks if it is one'
        )


def _keys_without_name(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Keys that are no text, of the settings and of what is built; other tables may have such keys."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str) and (not where or 'type' in node):
                yield where, key
            yield from _keys_without_name(value, f'{where}.{key}' if where else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _keys_without_name(value, f'{where}[{index}]')


def _problems(node: Any, where: str) -> Iterator[str]:
    """What of a config is no data, each with its place."""
    if isinstance(node, dict):
        for key, value in dict.items(node):
            place = f'{where}.{key}' if where else str(key)
            problem = _problem(str(key), value)
            if problem:
                yield f'{place} is {value!r}, {problem}'
            yield from _problems(value, place)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _problems(value, f'{where}[{index}]')


def _problem(key: str, value: Any) -> str:
    if key in _TYPE_KEYS and isinstance(value, str):
        if not is_registered(value):
            return 'which is not registered'
        if value.rpartition('.')[-1] in _EVALUATING:
            return 'which evaluates its options as Python'
    elif key in _SCOPE_KEYS and value is not None and value not in _PACKAGES:
        return f'none of {_PACKAGES}'
    elif key == 'custom_imports' and value:
        if not isinstance(value, dict) or set(value) - {'imports', 'allow_failed_imports'}:
            return 'no dict(imports=[...], allow_failed_imports=False)'
        imports = value.get('imports')
        names = [imports] if isinstance(imports, str) else imports
        if not isinstance(names, (list, tuple)) or not all(map(_is_of_package, names)):
            return f'which imports more than {_PACKAGES}'
    elif key in _PICKLED_KEYS and str(value).lower().endswith(('.pkl', '.pickle')):
        return 'a pickle, which runs code when it is read'
    return ''


def _is_of_package(name: Any) -> bool:
    is_name = isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None
    return is_name and name.partition('.')[0] in _PACKAGES


def is_registered(name: str) -> bool:
    """Whether a type of a config is one of a registry.

    Args:
        name (str): With or without a scope ('mmdet.Resize'), or with its module
            ('mmdet.datasets.transforms.Resize').
    """
    if not _IDENTIFIER.fullmatch(name):
        return False
    scope, _, short = name.rpartition('.')
    found = _registered()
    if not scope:
        return name in found or name in _NMS
    if not _is_of_package(scope):
        return False
    if scope in _PACKAGES and short in found:
        return True
    # modules of these packages alone are imported
    built = get_object_from_string(name)
    return any(built is one for one in found.get(short, ()))


@cache
def _root_registries() -> tuple[Registry, ...]:
    register_all_modules(init_default_scope=False)
    there = vars(mmengine.registry).values()
    return tuple(one for one in there if isinstance(one, Registry))


def _registered() -> dict[str, list[Any]]:
    """What is registered anywhere, by name."""
    found: dict[str, list[Any]] = {}
    todo = list(_root_registries())
    while todo:
        registry = todo.pop()
        registry.import_from_location()
        todo += registry.children.values()
        for name, built in registry.module_dict.items():
            found.setdefault(name, []).append(built)
            found.setdefault(getattr(built, '__name__', name), []).append(built)
    return found
