# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The configs and tools that the package brings along, by name from any folder."""

import difflib
import os
from pathlib import Path

from mmengine.config import Config

from mmfrac.utils.io import leads_outside

# links to those of a checkout; copies in an installed package
PACKAGED = Path(__file__).resolve().parents[1] / '.mim'
_SCOPE = 'mmfrac::'


def config_path(path: str | os.PathLike) -> str:
    """Path of a config file, where ``mmfrac::NAME`` is one that the package brings along.

    Args:
        path (str or PathLike): As a user names it.

    Returns:
        str: A path of the file system, as it is given where it names no scope.

    Raises:
        FileNotFoundError: If the package has no such config, with those of a similar name.
    """
    name = os.fspath(path)
    if not name.startswith(_SCOPE):
        return name
    folder = PACKAGED / 'configs'
    name = name.removeprefix(_SCOPE)
    if not leads_outside(name) and (folder / name).is_file():
        return str(folder / name)
    known = [
        file.relative_to(folder).as_posix()
        for file in folder.rglob('*.py')
        if file.relative_to(folder).parts[0] != '_base_'
    ]
    near = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
    raise FileNotFoundError(
        f'mmfrac has no config {name}; perhaps one of {", ".join(_SCOPE + one for one in near)}'
    )


def packaged_file(name: str) -> str:
    """Path of a file below the configs of the package, e.g. ``mmfrac::models/NAME/model.pth``.

    Args:
        name (str): As a user names it.

    Returns:
        str: A path of the file system, as it is given where it names no scope.

    Raises:
        FileNotFoundError: If the package has no such file.
    """
    if not name.startswith(_SCOPE):
        return name
    below = name.removeprefix(_SCOPE)
    path = PACKAGED / 'configs' / below
    if leads_outside(below) or not path.is_file():
        models = sorted(
            f'{_SCOPE}{file.relative_to(PACKAGED / "configs").as_posix()}'
            for file in (PACKAGED / 'configs/models').glob('*/*.pth')
        )
        raise FileNotFoundError(f'mmfrac brings no file {below} along; its weights are {models}')
    return str(path)


def is_packaged(path: str | os.PathLike) -> bool:
    """Whether a file is one of the package's configs, by whatever way it is named."""
    configs = os.path.realpath(PACKAGED / 'configs')
    return Path(os.path.realpath(path)).is_relative_to(configs)


def use_packaged_configs() -> None:
    """Let configs name those of the package as ``_base_ = 'mmfrac::frac_ssl.py'``.

    mmengine does so for packages of OpenMMLab alone, by a fixed list, and for configs in a folder only.
    """
    own = Config._get_cfg_path
    if getattr(own, 'knows_mmfrac', False):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(_SCOPE):
            return config_path(cfg_path), None
        return own(cfg_path, filename)

    get_cfg_path.knows_mmfrac = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)
