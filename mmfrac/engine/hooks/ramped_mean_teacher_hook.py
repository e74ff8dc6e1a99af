# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.engine.hooks import MeanTeacherHook
from mmdet.registry import HOOKS
from mmengine.runner import Runner
from torch import nn


@HOOKS.register_module()
class RampedMeanTeacherHook(MeanTeacherHook):
    r"""mmdet's ``MeanTeacherHook`` whose teacher follows fast at first.

    The weight of the new value after step *n* (from 0) is :math:`\max(momentum, 1 / (n + 2))`, so that
    the teacher of a short training is no net of its first weights. Tarvainen and Valpola (2017), and
    the code of Consistent-Teacher (without its option ``warm_up``), do so.

    Args:
        kwargs: Of mmdet's hook: ``momentum`` (default 0.001), ``interval``, ``skip_buffer``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._num_steps: int | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the teacher."""
        self._num_steps = runner.iter + 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._num_steps = None

    def momentum_update(self, model: nn.Module, momentum: float) -> None:
        """Move the teacher by a weight of at least ``momentum``."""
        if self._num_steps is not None:
            momentum = max(momentum, 1 / (self._num_steps + 1))
        super().momentum_update(model, momentum)
