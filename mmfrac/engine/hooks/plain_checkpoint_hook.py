# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Stores mmengine's message hub as plain data, so that checkpoints load with ``weights_only``.

    The hub's ``HistoryBuffer`` objects pickle bound methods, which ``torch.load`` refuses unless its
    protection is switched off. They are written as tensors and rebuilt after loading. A run that goes on
    from a checkpoint of another work dir starts without that one's best checkpoint, which mmengine would
    delete as soon as there is a better one.
    """

    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the hub and all numpy values by plain data."""
        hub = checkpoint['message_hub']
        checkpoint['message_hub'] = dict(
            log_scalars={
                key: dict(
                    log_history=torch.as_tensor(buffer.data[0]),
                    count_history=torch.as_tensor(buffer.data[1]),
                    max_length=buffer.max_length,
                )
                for key, buffer in hub['log_scalars'].items()
            },
            runtime_info=plain(dict(hub['runtime_info'])),
            resumed_keys=dict(hub['resumed_keys']),
        )
        checkpoint['meta'] = plain(checkpoint['meta'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rebuild the hub's history buffers."""
        hub = checkpoint.get('message_hub', {})
        forget_other_run(hub.get('runtime_info', {}), runner.work_dir)
        scalars = hub.get('log_scalars', {})
        for key, buffer in scalars.items():
            if isinstance(buffer, dict):
                scalars[key] = HistoryBuffer(
                    buffer['log_history'].cpu().numpy(),
                    buffer['count_history'].cpu().numpy(),
                    buffer['max_length'],
                )


def forget_other_run(runtime_info: dict, work_dir: str) -> None:
    """Drop path and score of best checkpoints that lie in another folder, in place.

    Args:
        runtime_info (dict): Of mmengine's message hub.
        work_dir (str): Folder of this run.
    """
    here = Path(work_dir).resolve()
    for key in [key for key in runtime_info if key.startswith('best_ckpt')]:
        path = runtime_info[key]
        if path is not None and Path(path).resolve().parent != here:
            del runtime_info[key]
            runtime_info.pop(key.replace('best_ckpt', 'best_score'), None)


def plain(value: Any) -> Any:
    """Copy of nested data in types that ``torch.load(weights_only=True)`` accepts.

    Args:
        value (Any): dicts, lists, tuples, sets, numpy and torch values, strings, numbers, None. Any
            other object becomes its ``str``.

    Returns:
        Any: The copy.
    """
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    if value is None or isinstance(value, (str, bytes, bool, Number, torch.Tensor)):
        return value
    return str(value)
