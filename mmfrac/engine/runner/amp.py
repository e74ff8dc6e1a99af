# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What ``--amp`` and ``--tta`` change in a config."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: bfloat16, whose range needs no scaling of the loss.

    mmengine's ``AmpOptimWrapper`` asks for an accelerator.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a step under autocast.

        Args:
            model (nn.Module): The model that is trained.
        """
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def use_amp(cfg: Config) -> None:
    """Make a config train in mixed precision, in place.

    Args:
        cfg (Config): With ``optim_wrapper``; it becomes mmengine's ``AmpOptimWrapper`` where there is an
            accelerator, else ``CPUAmpOptimWrapper``.
    """
    if get_device() == 'cpu':
        cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'
