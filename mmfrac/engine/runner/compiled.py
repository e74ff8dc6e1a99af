# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""``torch.compile`` of what of a detector is a network."""

import torch
from torch import nn

from mmfrac.utils.device import check_compiler

_PARTS = ('backbone', 'neck', 'prob_map_head', 'cam_head', 'bbox_head')


def compile_networks(model: nn.Module, device: str | torch.device) -> None:
    """Have torch compile backbone, neck and head with their next input, in place.

    What comes before and after them handles samples, and stays as it is. Batch norms are folded before,
    as folding what is compiled changes nothing.

    Args:
        model (nn.Module): Detector, student and teacher (which does not predict and is left alone), or
            ensemble of detectors.
        device (str or torch.device): Where it is.

    Raises:
        ValueError: If nothing can compile for the device.
    """
    check_compiler(torch.device(device))
    for name, child in model.named_modules():
        *above, last = name.split('.')
        if last in _PARTS and 'teacher' not in above:
            child.compile()
