# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Moving averages of weights."""

from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mmfrac.utils.device import HostBuffers


class StepEMA(HostBuffers, AveragedModel):
    r"""PyTorch's average of weights with the decay of Mean Teacher [10].

    .. math:: \theta' \leftarrow d\, \theta' + (1 - d)\, \theta, \quad d = \min(1 - 1 / (n + 1), d_{max})

    The count ``n`` of updates stays on the CPU: a GPU is not waited for.

    Args:
        model (nn.Module): Model that is averaged.
        max_decay (float): ``d_max``, weight of the old value.
        use_buffers (bool): Average floating-point buffers too, in place of copying them. Defaults to
            False.
    """

    host_buffers = ('n_averaged',)

    def __init__(self, model: nn.Module, max_decay: float, use_buffers: bool = False) -> None:
        super().__init__(model, use_buffers=use_buffers)
        self.max_decay = max_decay
        self.requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow the model by a step; PyTorch's own would send the count to the device and wait.

        Args:
            model (nn.Module): The model that is averaged.
        """
        averaged: list[tuple[Tensor, Tensor]] = []
        copied: list[tuple[Tensor, Tensor]] = []
        parameters = zip(self.module.parameters(), model.parameters())
        buffers = zip(self.module.buffers(), model.buffers())
        for is_averaged, pairs in ((True, parameters), (self.use_buffers, buffers)):
            for average, value in pairs:
                is_averaged_now = is_averaged and self.n_averaged and average.is_floating_point()
                (averaged if is_averaged_now else copied).append((average, value))
        if averaged:
            weight = max(1 - self.max_decay, 1 / (1 + int(self.n_averaged)))
            averages, values = ([pair[side] for pair in averaged] for side in (0, 1))
            torch._foreach_lerp_(averages, values, weight)
        if copied:
            averages, values = ([pair[side] for pair in copied] for side in (0, 1))
            torch._foreach_copy_(averages, values)
        self.n_averaged += 1

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # the name of the count in checkpoints before mmfrac used PyTorch's average
        if f'{prefix}steps' in state_dict:
            state_dict[f'{prefix}n_averaged'] = state_dict.pop(f'{prefix}steps')
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class PredictionEMA(ExponentialMovingAverage):
    """MMEngine's moving average of what prediction needs, for its ``EMAHook(ema_type='PredictionEMA')``.

    What only training needs, the model's ``training_only`` prefixes (teacher, and the ``m``, ``t`` and
    ``a`` of the pseudo-label pipeline), is state and no weight: it is shared with the model and not
    averaged, so that every checkpoint holds it as it is.

    Args:
        model (nn.Module): The model that is averaged.
        **kwargs: Arguments of ``ExponentialMovingAverage``.
    """

    avg_parameters: dict[str, Tensor]

    def __init__(self, model: nn.Module, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        shared = tuple(getattr(model, 'training_only', ()))
        for prefix in shared:
            owner, _, name = prefix.rstrip('.').rpartition('.')
            setattr(self.module.get_submodule(owner), name, model.get_submodule(prefix.rstrip('.')))
        self.avg_parameters = {
            name: value
            for name, value in self.avg_parameters.items()
            if not name.startswith(shared)
        }
