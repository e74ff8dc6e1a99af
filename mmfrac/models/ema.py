# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Moving averages of weights."""

from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA
from torch import Tensor, nn


class FusedEMA(MomentumAnnealingEMA):
    """MMEngine's annealed average of weights, in one operation for all tensors.

    MMEngine asks the device for the number of steps once per tensor, and so waits for a GPU a hundred
    times a step; here the number is kept on the host. State and values are MMEngine's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._num_steps: int | None = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._num_steps = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow a model by a step.

        Args:
            model (nn.Module): The model whose weights are averaged.
        """
        if self._num_steps is None:
            self._num_steps = int(self.steps)
        source = model.state_dict() if self.update_buffers else dict(model.named_parameters())
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, average in self.avg_parameters.items():
            if self._num_steps == 0:
                average.data.copy_(source[name].data)
            elif average.dtype.is_floating_point:
                averages.append(average.data)
                values.append(source[name].data.to(average.device))
        if averages and self._num_steps % self.interval == 0:
            momentum = max(self.momentum, self.gamma / (self.gamma + self._num_steps))
            torch._foreach_lerp_(averages, values, momentum)
        if not self.update_buffers:
            for average, value in zip(self.module.buffers(), model.buffers()):
                average.data.copy_(value.data)
        self.steps += 1
        self._num_steps += 1


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
