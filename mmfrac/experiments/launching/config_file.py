# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The config that a tool is given."""

from pathlib import Path

from mmengine.config import Config

from mmfrac.utils.io import AtomicLocalBackend


def write_config(cfg: Config, work_dir: Path) -> Path:
    """Write a config to ``config.py`` in a work dir.

    Args:
        cfg (Config): Config.
        work_dir (Path): Its folder; it is made.

    Returns:
        Path: The file.
    """
    path = work_dir / 'config.py'
    AtomicLocalBackend().put_text(cfg.pretty_text, path)
    return path
