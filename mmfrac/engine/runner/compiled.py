# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""``torch.compile`` of what of a detector is a network."""

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import nn

from mmfrac.utils.device import check_compiler

_PARTS = ('backbone', 'neck', 'prob_map_head', 'cam_head', 'rpn_head', 'bbox_head')


def compile_networks(model: nn.Module, device: str | torch.device) -> None:
    """Have torch compile backbone, neck and heads with their next input, in place.

    What comes before and after them handles samples, and stays as it is. Batch norms are folded before,
    as folding what is compiled changes nothing. Parts are found by mmdet's names; a warning names what
    has weights and is called otherwise, and so is not compiled.

    Args:
        model (nn.Module): Detector, student and teacher (which does not predict and is left alone), or
            ensemble of detectors.
        device (str or torch.device): Where it is.

    Raises:
        ValueError: If nothing can compile for the device, or the model has no such part.
    """
    check_compiler(torch.device(device))
    parts = {
        name: child
        for name, child in model.named_modules()
        if name.split('.')[-1] in _PARTS and 'teacher' not in name.split('.')
    }
    if not parts:
        raise ValueError(f'{type(model).__name__} has none of {_PARTS} that could be compiled')
    left = _not_compiled(model, list(parts))
    if left:
        print_log(
            f'torch.compile: {", ".join(parts)} alone; not {", ".join(left)}',
            'current',
            logging.WARNING,
        )
    for part in parts.values():
        part.compile()


def _not_compiled(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Names of the largest modules with weights that neither are nor hold a part."""
    left = set()
    for name, _ in model.named_parameters():
        path = name.split('.')
        if 'teacher' in path or any(name.startswith(f'{part}.') for part in parts):
            continue
        above = ('.'.join(path[:depth]) for depth in range(1, len(path) + 1))
        left.add(
            next(own for own in above if not any(part.startswith(f'{own}.') for part in parts))
        )
    return sorted(left)
