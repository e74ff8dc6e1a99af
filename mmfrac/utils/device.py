# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Copies between host and device that nobody waits for, and counters that stay on the host."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Give a tensor to a device without waiting for the work that the device has to do before.

    Args:
        values (Tensor): Of any device.
        device (torch.device): Where it is needed.

    Returns:
        Tensor: The same values there.
    """
    if device.type == 'cuda' and values.device.type == 'cpu':
        # out of pageable memory the driver may wait
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class HostCopy:
    """A copy of a tensor on the host, which is begun at once and waited for when it is read.

    Args:
        values (Tensor): Of any device; on the host itself it is not copied.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values.to('cpu', non_blocking=True)
        self._done = (
            torch.cuda.current_stream(values.device).record_event() if values.is_cuda else None
        )

    def numpy(self) -> np.ndarray:
        """The values, as soon as they have arrived."""
        if self._done is not None:
            self._done.synchronize()
        return self._values.numpy()


class HostBuffers(nn.Module):
    """A module some of whose buffers stay on the host, wherever it is moved.

    They are counters that are read in every step; on a device each look would wait for it.

    Attributes:
        host_buffers (tuple[str, ...]): Their names.
    """

    host_buffers: tuple[str, ...] = ()

    def _apply(self, fn: Callable, recurse: bool = True) -> Any:
        kept = {name: self._buffers[name] for name in self.host_buffers}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            moved = self._buffers[name]
            if value is None or moved is None or moved.device.type == 'meta' == value.device.type:
                continue
            # one that was built without values has them only now
            self._buffers[name] = moved.cpu() if value.device.type == 'meta' else value
        return self


def host_buffer_names(model: nn.Module) -> list[str]:
    """Names of the buffers of a model that stay on the host, see ``HostBuffers``."""
    return [
        f'{prefix}.{name}'.lstrip('.')
        for prefix, module in model.named_modules()
        if isinstance(module, HostBuffers)
        for name in module.host_buffers
    ]
