# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


def unwrapped_model(runner: Runner) -> Any:
    """The model of a runner without its wrapper for distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
