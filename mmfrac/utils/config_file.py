# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A config from disk, and the options that override it."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, DictAction

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


class KeyValues(DictAction):
    """mmengine's ``key=value`` options, with a word about what is none."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        wrong = [value for value in values or () if '=' not in value]
        if wrong:
            parser.error(f'{option_string} takes key=value pairs, got {" ".join(wrong)}')
        super().__call__(parser, namespace, values, option_string)
