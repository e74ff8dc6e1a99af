# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which checkpoint a run goes on from, and how one is read."""

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_checkpoint_file(filename: str | os.PathLike, map_location: Any = None) -> dict:
    """Read a checkpoint file, always with the ``weights_only`` protection of PyTorch.

    It takes the place of mmengine's reader of local files, whose protection depends on the version of
    PyTorch.

    Args:
        filename (str | PathLike): Checkpoint.
        map_location (Any): As in ``torch.load``. Defaults to None.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none, is damaged, or holds more than plain data and tensors.
    """
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no checkpoint {path}; tools/train.py writes them to its work dir')
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a pickle of anything else, a truncated file, no zip at all
        what = str(error).strip().split('\n')[0] or type(error).__name__
        raise ValueError(
            f'{path} cannot be loaded as a checkpoint ({what}); it is damaged, no checkpoint at all, or '
            'holds objects that only run by executing code, which is refused'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} is no checkpoint: it holds a {type(checkpoint).__name__}')
    return checkpoint


def resume_training(cfg: Config, checkpoint: str) -> None:
    """Make a run continue.

    Args:
        cfg (Config): With ``work_dir``; ``resume`` and ``load_from`` are set. Where there is nothing to
            continue from with 'auto' it is left as it is, and training starts anew.
        checkpoint (str): File to continue from, or 'auto': the latest in the work dir.
    """
    found = latest_checkpoint(cfg.work_dir) if checkpoint == 'auto' else checkpoint
    if found is None:
        print_log(f'Nothing to resume in {cfg.work_dir}: training starts anew', logger='current')
        return
    cfg.resume = True
    cfg.load_from = found


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Checkpoint that was saved last in a work dir.

    mmengine writes its name to the file ``last_checkpoint``. A run killed at that moment leaves the
    file empty or cut short, and a moved work dir makes it point elsewhere: then the newest file counts.

    Args:
        work_dir (str | Path): Folder of a run.

    Returns:
        str | None: None where there is no checkpoint.
    """
    folder = Path(work_dir)
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = folder / Path(pointer.read_text().strip()).name
        if named.is_file():
            return str(named)
    saved = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
    return str(max(saved, key=lambda path: path.stat().st_mtime_ns)) if saved else None
