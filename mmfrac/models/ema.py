# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Moving averages of weights."""

from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class StepEMA(AveragedModel):
    r"""PyTorch's average of weights with the decay of Mean Teacher [10].

    .. math:: \theta' \leftarrow d\, \theta' + (1 - d)\, \theta, \quad d = \min(1 - 1 / (n + 1), d_{max})

    The count ``n`` of updates stays on the CPU: a GPU is not waited for.

    Args:
        model (nn.Module): Model that is averaged.
        max_decay (float): ``d_max``, weight of the old value.
        use_buffers (bool): Average floating-point buffers too, in place of copying them. Defaults to
            False.
    """

    def __init__(self, model: nn.Module, max_decay: float, use_buffers: bool = False) -> None:
        super().__init__(model, multi_avg_fn=self._average, use_buffers=use_buffers)
        self.max_decay = max_decay
        self.requires_grad_(False)

    def _average(self, averages: Any, values: Any, _: Any) -> None:
        if averages[0].is_floating_point():
            weight = max(1 - self.max_decay, 1 / (1 + int(self.n_averaged)))
            torch._foreach_lerp_(averages, values, weight)
        else:
            torch._foreach_copy_(averages, values)

    def _apply(self, fn: Any, recurse: bool = True) -> 'StepEMA':
        super()._apply(fn, recurse)
        if self.n_averaged.device.type != 'meta':
            self.n_averaged = self.n_averaged.cpu()
        return self

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
            name = prefix.rstrip('.')
            setattr(self.module, name, getattr(model, name))
        self.avg_parameters = {
            name: value
            for name, value in self.avg_parameters.items()
            if not name.startswith(shared)
        }
