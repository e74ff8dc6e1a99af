# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import time
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class StepTimerHook(Hook):
    """Times training steps: all hooks of a step included, loading of its films excluded.

    Attributes:
        seconds (list[float]): One a step.
        num_images (list[int]): Films of each step, a film with several views once.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.num_images: list[int] = []
        self._loaded = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note when the films are there: hooks that come before this one take no time to speak of."""
        self.num_images.append(_num_images(data_batch['inputs']))
        self._loaded = now()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note when the step is done, the other hooks included."""
        self.seconds.append(now() - self._loaded)


def now() -> float:
    """Seconds on a monotonic clock, when the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _num_images(inputs: Any) -> int:
    if isinstance(inputs, dict):
        # None stands for a film of another branch
        return len(next(iter(inputs.values())))
    return len(inputs)
