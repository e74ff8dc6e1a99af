# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a device computes in; copies that nobody waits for, counters and memory of the host."""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# of a prediction, see mmfrac.engine.runner.precision.choose_precision
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16')

# parameters of mallopt, see malloc.h: no block by mmap, and what is free at the end is kept
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

# of Intel, AMD and ARM
_BF16_UNITS = re.compile(r'\b(avx512_bf16|amx_bf16|bf16)\b')


def usable_device(name: str | torch.device) -> torch.device:
    """A device that this machine has.

    Args:
        name (str or torch.device): E.g. 'cpu', 'cuda:0'.

    Raises:
        ValueError: If there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'no device {name!r}: cpu, cuda or cuda:0 are') from error
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f'no device {name}: this torch ({torch.__version__}) sees {torch.cuda.device_count()} GPUs; '
            'leave --device out, or see mmfrac doctor'
        )
    return device


def has_bf16(device: str | torch.device) -> bool:
    """Whether a device computes in bfloat16 itself, faster than in fp32.

    Args:
        device (str or torch.device): E.g. 'cpu', 'cuda:0'. Of a CPU, oneDNN has to use its units, too
            (``ONEDNN_MAX_CPU_ISA`` can forbid it).
    """
    kind = torch.device(device).type
    if kind == 'cuda':
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(False)
    return kind == 'cpu' and _cpu_has_bf16()


@cache
def _cpu_has_bf16() -> bool:
    try:
        flags = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return False
    return uses_wide_units() and bool(_BF16_UNITS.search(flags))


def uses_wide_units() -> bool:
    """Whether oneDNN has AVX-512 here, on ARM bf16; ``ONEDNN_MAX_CPU_ISA`` can forbid it."""
    # which asks for no more than that
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def check_compiler(device: torch.device) -> None:
    """See to it that ``torch.compile`` can compile for a device.

    Args:
        device (torch.device): The network's.

    Raises:
        ValueError: If it is a CPU and there is no C++ compiler.
    """
    compiler = os.environ.get('CXX', 'g++')
    if device.type == 'cpu' and shutil.which(compiler) is None:
        raise ValueError(
            f"to compile a network for a CPU takes a C++ compiler, and there is no '{compiler}' here: "
            'install g++, name another one in the environment variable CXX, or do not compile'
        )


def keep_freed_memory() -> bool:
    """Have the C library keep the memory of tensors that are freed, for the next ones.

    By default glibc gives large blocks back to the system at once, which hands out pages of zeros again
    when the next layer asks: on a CPU up to a third of a training step goes into that, where tensors
    have more than 32 MB; an inference gains nothing. Results stay.
    Other libraries than glibc, and a process that is told what to do by ``GLIBC_TUNABLES``,
    ``MALLOC_MMAP_...`` or ``MALLOC_TRIM_THRESHOLD_``, are left as they are.

    Returns:
        bool: Whether it was asked to.
    """
    told = ('GLIBC_TUNABLES', 'MALLOC_MMAP_', 'MALLOC_TRIM_')
    if any(name.startswith(told) for name in os.environ) or not sys.platform.startswith('linux'):
        return False
    try:
        # mallopt of the libraries that are loaded, another allocator's too
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
    except (AttributeError, OSError):
        return False


def computed_on() -> dict[str, str]:
    """``device`` and ``threads`` of this process, on which the last digits of a training depend."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f'CPU, {torch.backends.cpu.get_cpu_capability()}'
    )
    return dict(device=device, threads=str(torch.get_num_threads()))


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
