# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A config as a pure-Python one: its types are imported classes, its base is read by ``read_base``."""

from pathlib import Path
from typing import Any

import mmdet.registry
import mmengine.registry
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import Registry

from mmfrac.utils.config import type_name

# those of mmdet first, whose transforms stand beside some of mmcv with the same name
REGISTRIES = sorted(
    (
        found
        for module in (mmdet.registry, mmengine.registry)
        for found in vars(module).values()
        if isinstance(found, Registry)
    ),
    key=lambda registry: registry.scope != 'mmdet',
)


def class_of(name: str, within: str = '') -> Any:
    """What is registered under a name, or the name itself where mmdet looks it up another way.

    Args:
        name (str): Type.
        within (str): Setting that it stands in: of equal names a model's is that of a module.
    """
    short = type_name(name)
    for registry in [MODELS, *REGISTRIES] if within == 'model' else REGISTRIES:
        if short in registry.module_dict:
            return registry.module_dict[short]
    return name


def write_new_style(cfg: Config, path: Path) -> None:
    """Write a config as a pure-Python one: all but the model goes into a base beside it.

    Args:
        cfg (Config): With types as strings.
        path (Path): File to write.
    """
    imports: dict[str, str] = {}
    content = cfg.to_dict()
    # mmengine does not look at the imports of a pure-Python config
    content.pop('custom_imports', None)
    base = {key: _text(value, imports, key) for key, value in content.items() if key != 'model'}
    path.with_name(f'{path.stem}_base.py').write_text(_lines(imports, base))
    imports = {}
    model = _text(content['model'], imports, 'model')
    read = (
        'from mmengine.config import read_base\n\n'
        f'with read_base():\n    from .{path.stem}_base import *\n'
    )
    path.write_text(read + _lines(imports, dict(model=model)))


def same_type(old: Any, new: Any) -> bool:
    """Whether two configs are equal but for how they write their types."""
    if isinstance(old, dict) and isinstance(new, dict):
        return set(old) == set(new) and all(
            type_name(class_of(old[key])) == type_name(new[key])
            if key == 'type' and isinstance(old[key], str)
            else same_type(old[key], new[key])
            for key in old
        )
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(same_type, old, new))
    return bool(old == new)


def _lines(imports: dict[str, str], values: dict[str, str]) -> str:
    lines = [*imports.values(), *(f'{key} = {value}' for key, value in values.items())]
    return '\n'.join(lines) + '\n'


def _text(value: Any, imports: dict[str, str], within: str) -> str:
    if isinstance(value, dict):
        items = (
            f'{key!r}: {(_type if key == "type" else _text)(entry, imports, within)}'
            for key, entry in value.items()
        )
        return f'{{{", ".join(items)}}}'
    if isinstance(value, (list, tuple)):
        left, right = '[]' if isinstance(value, list) else ('(', ',)' if value else ')')
        return left + ', '.join(_text(entry, imports, within) for entry in value) + right
    return repr(value)


def _type(name: Any, imports: dict[str, str], within: str) -> str:
    kind = class_of(name, within) if isinstance(name, str) else name
    if isinstance(kind, str):
        return repr(kind)
    alias = f'{kind.__module__}.{kind.__qualname__}'.replace('.', '_')
    imports[alias] = f'from {kind.__module__} import {kind.__qualname__} as {alias}'
    return alias
