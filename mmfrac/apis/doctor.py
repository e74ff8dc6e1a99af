# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What this environment has and lacks."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes

from mmfrac.utils import mmcv_ops
from mmfrac.utils.device import has_bf16
from mmfrac.utils.environment import installed_versions

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'firefox')
_GIB = 2**30


class Check(NamedTuple):
    """One line of a diagnosis.

    Attributes:
        name (str): What was looked at.
        found (str): What is there.
        remedy (str): What to do about it; empty where nothing needs to be done.
        is_needed (bool): Whether mmfrac cannot do its work as it is. Defaults to False.
    """

    name: str
    found: str
    remedy: str = ''
    is_needed: bool = False

    def __str__(self) -> str:
        mark = 'FAULT' if self.is_needed else 'note' if self.remedy else 'ok'
        return f'{mark:5}  {self.name}: {self.found}' + (f'; {self.remedy}' * bool(self.remedy))


def diagnose(folder: str | os.PathLike = '.') -> list[Check]:
    """Look at versions, operators, devices, decoders, disk, memory and browser.

    Args:
        folder (str or PathLike): Where runs would be written. Defaults to the working directory.

    Returns:
        list[Check]: One a line to print.
    """
    return [
        *_software(),
        *_devices(),
        *_decoders(),
        _disk(Path(folder)),
        _shared_memory(),
        _browser(),
    ]


def _software() -> Iterator[Check]:
    versions = installed_versions()
    yield Check('system', f'{platform.platform(terse=True)}, {os.cpu_count()} cores')
    yield Check('versions', ', '.join(f'{name} {version}' for name, version in versions.items()))
    if mmcv_ops.are_compiled():
        yield Check('operators of mmcv', 'compiled')
    else:
        yield Check(
            'operators of mmcv',
            "not compiled; mmdet's box detectors run on mmfrac's nms and roi_align, prob-map detectors "
            'need none',
        )


def _devices() -> Iterator[Check]:
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            precision = 'fp16 and bf16' if has_bf16(f'cuda:{index}') else 'fp16'
            yield Check(
                f'GPU {index}',
                f'{about.name}, {about.total_memory / _GIB:.0f} GiB, runs {precision}',
            )
        return
    remedy = 'phantoms and inference do well; training at 1024 px is slow without one'
    if shutil.which('nvidia-smi'):
        remedy = (
            f'there is an NVIDIA driver, and torch {torch.__version__} sees no GPU: install the torch '
            'build for its CUDA version'
        )
    yield Check('GPU', 'none', remedy)
    units = 'with' if has_bf16('cpu') else 'without'
    capability = torch.backends.cpu.get_cpu_capability()
    yield Check('CPU', f'{capability}, {torch.get_num_threads()} threads, {units} units for bf16')


def _decoders() -> Iterator[Check]:
    for uid in AllTransferSyntaxes:
        name = UID(uid).name
        if not (any(family in name for family in ('JPEG', 'RLE')) and 'MPEG' not in name):
            continue
        try:
            decoder = get_decoder(uid)
        except NotImplementedError:
            continue
        found = ', '.join(decoder.available_plugins)
        remedy = (
            '' if found else "pip install -r requirements/dicom.txt, or '.[dicom]', in a checkout"
        )
        yield Check(f'DICOM {name}', found or 'no decoder', remedy)


def _disk(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    few = 'a training of frac_ssl.py keeps up to 2 GB of checkpoints' if free < 5 else ''
    if not os.access(folder, os.W_OK):
        return Check('disk', f'{folder.resolve()} cannot be written', 'name another work dir', True)
    return Check('disk', f'{free:.1f} GiB free in {folder.resolve()}', few)


def _shared_memory() -> Check:
    path = Path('/dev/shm')
    if not path.is_dir():
        return Check(
            'shared memory', 'no /dev/shm', 'num_workers=0 in the data loaders where they hang'
        )
    size = shutil.disk_usage(path).free / _GIB
    remedy = ''
    if size < 1:
        remedy = (
            'workers of data loaders end with "bus error" when it is full: docker run --shm-size 8g, or '
            'num_workers=0'
        )
    return Check('shared memory', f'{size:.1f} GiB free', remedy)


def _browser() -> Check:
    found = next((name for name in _BROWSERS if shutil.which(name)), '')
    return Check(
        'browser', found or 'none here', '' if found else 'open report.html on another machine'
    )
