# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
from typing import Any

import torch
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
