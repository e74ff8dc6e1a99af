# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The machine that figures were measured on."""

import os
import platform
from pathlib import Path

import torch

from mmfrac.utils.device import has_bf16


def machine() -> dict[str, str | int | bool]:
    """Processor, GPU and versions, as every figure names them.

    Returns:
        dict: ``cpu``, ``cpu_bf16`` (whether it multiplies bfloat16 itself), ``cores``, ``threads`` (of
        torch), ``torch``; ``gpu``, '' where there is none.
    """
    fields: dict[str, str] = {}
    path = Path('/proc/cpuinfo')
    if path.is_file():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(':')
            fields.setdefault(name.strip(), value.strip())
    return dict(
        cpu=fields.get('model name') or platform.processor() or platform.machine(),
        cpu_bf16=has_bf16('cpu'),
        cores=os.cpu_count() or 0,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else '',
    )


def machine_line() -> str:
    """The same as a line to print."""
    found = machine()
    gpu = found['gpu'] or 'none'
    bf16 = 'with' if found['cpu_bf16'] else 'without'
    return (
        f'CPU {found["cpu"]} {bf16} bf16 units, {found["threads"]} of {found["cores"]} cores; '
        f'GPU {gpu}; torch {found["torch"]}'
    )
