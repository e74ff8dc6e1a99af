# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Makes an installed torchvision importable whose operators were built for another torch.

PyPI's torchvision for Linux links CUDA's libraries; beside a torch for CPUs its operators do not load,
and ``import torchvision`` then ends with "operator torchvision::nms does not exist", because it
describes two of them to torch's compiler unasked. mmengine imports it wherever it is installed
(``collect_env``), and so does timm, both without a need for operators. The two are declared here,
without an implementation.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMA = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> bool:
    """Declare torchvision's operators where it is installed and they do not load.

    Returns:
        bool: Whether they were declared, now or before.
    """
    spec = importlib.util.find_spec('torchvision')
    if _declared or spec is None or spec.origin is None:
        return bool(_declared)
    for file in Path(spec.origin).parent.glob('_C.*so'):
        try:
            torch.ops.load_library(str(file))
        except (ImportError, OSError):
            continue
        return False
    if not _exists('nms'):
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for name in ('nms', 'qnms'):
            library.define(name + _SCHEMA)
        _declared.append(library)
    return bool(_declared)


def _exists(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)
