# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into eval mode and give every module its own mode back afterwards."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in trained:
            module.training = True
