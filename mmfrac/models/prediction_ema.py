# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn


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
