# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the tools that take a config share."""

import argparse
import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmfrac.utils.config import (
    fill_stride,
    load_config,
    merge_options,
    set_data_root,
    set_film_cache,
)
from mmfrac.utils.device import PRECISIONS
from mmfrac.utils.packaged import config_path
from mmfrac.utils.runner_settings import check_runner_settings


class KeyValues(DictAction):
    """mmengine's ``key=value`` options, and values that are dicts, written as in a config.

    A word is said about what is no option, where mmengine would leave a string.
    """

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
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            parser.error(f'{option_string}: {error}')

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """A value: that of Python where it has dicts in it, else as mmengine reads it."""
        text = val.strip()
        if _HAS_DICT.search(text) is None:
            return DictAction._parse_iterable(val)
        try:
            return _literal(ast.parse(text, mode='eval').body)
        except (SyntaxError, ValueError) as error:
            if 'dict(' not in text:
                # of a template, {:04d}.png
                return DictAction._parse_iterable(val)
            raise ValueError(
                f'{text!r} is no value ({error}): write dicts as in a config, in quotes of the shell, '
                'e.g. "model.teacher=dict(type=\'MeanTeacher\')"'
            ) from error


# at the beginning, or as an item
_HAS_DICT = re.compile(r'(^|[\[(,=:]\s*)(dict\(|\{)')


def _literal(node: ast.expr) -> Any:
    """Value of a literal, in which dicts may be written as calls; nothing is run."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if node.args or any(item.arg is None for item in node.keywords):
            raise ValueError('a dict has names and values, dict(name=value)')
        return {str(item.arg): _literal(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError('a dict has names and values')
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Name):
        raise ValueError(f'{node.id} has no quotes')
    return ast.literal_eval(node)


CFG_OPTIONS_HELP = (
    'settings of the config to override, as key=value pairs; nested keys with dots, lists as '
    'key="[a,b]" or key=a,b, dicts as "key=dict(type=\'MixUp\')"'
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments as mmdet users know them, plus ``--data-root``."""
    parser.add_argument('--work-dir', help='folder for logs, models and metrics')
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """``--precision`` and ``--amp`` of a tool that predicts; see ``choose_precision``."""
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='of the network, default auto: bf16 where the CPU or GPU computes in it and the model '
        'predicts prob maps, else fp32',
    )
    parser.add_argument(
        '--amp',
        action='store_const',
        const='amp',
        dest='precision',
        help='as auto, but fp16 on a GPU without bf16, as train.py --amp trains there',
    )


def add_compile_argument(parser: argparse.ArgumentParser) -> None:
    """``--compile`` of a tool that predicts; see ``compile_networks``."""
    parser.add_argument(
        '--compile',
        action='store_true',
        help='have torch compile the network first, which takes up to minutes',
    )


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a tool that may run as one of several ranks."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher; the dist_*.sh and slurm_*.sh scripts set it',
    )
    # torchrun's predecessor passed the rank as an argument
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def config_from_arguments(args: argparse.Namespace) -> Config:
    """Load the config and apply the common arguments.

    Args:
        args (Namespace): With ``config`` and the arguments of ``add_common_arguments``; those of
            ``add_launch_arguments`` where the tool has them.

    Returns:
        Config: With ``work_dir`` and ``launcher`` set, and the head's stride in its targets.

    Raises:
        FileNotFoundError: When there is no such config.
        ValueError: When it is no config of a model, has misspelt settings, or an option fits none of its
            settings.
    """
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    args.config = config_path(args.config)
    cfg = load_config(args.config)
    cfg.launcher = getattr(args, 'launcher', 'none')
    options = args.cfg_options or {}
    merge_options(cfg, options)
    data_root = args.data_root or options.get('data_root')
    if data_root:
        set_data_root(cfg._cfg_dict, data_root)
    if cfg.get('film_cache'):
        set_film_cache(cfg._cfg_dict, cfg.film_cache)
    fill_stride(cfg)
    check_runner_settings(cfg)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg
