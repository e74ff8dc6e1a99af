# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Parameters and operations of the network that predicts."""

import warnings
from functools import partial
from typing import Any

import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn


def predicting_network(model: Any) -> Any:
    """Network of a model that predicts: the student of ``SemiProbMapDetector``, what ``semi_test_cfg``
    names of a mmdet ``SemiBaseDetector`` (its teacher, unless said otherwise), any other model itself.
    """
    test_cfg = getattr(model, 'semi_test_cfg', None)
    name = 'student' if test_cfg is None else test_cfg.get('predict_on', 'teacher')
    return getattr(model, name, model)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; one that is shared counts once, buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_operations(model: Any, film: dict[str, Any]) -> tuple[float, list[int]]:
    """Operations of one film up to the raw output of its network, post-processing excluded.

    Counted by mmengine on the traced network: a multiplication with its addition is one operation;
    operators that it does not know (RoIAlign, NMS, activations) count nothing.

    Args:
        model (nn.Module): Any mmdet detector.
        film (dict): Batch of one film, as the test loader gives it.

    Returns:
        tuple[float, list[int]]: 1e9 operations, and the network's input ``[C, H, W]``.
    """
    model.eval()
    data = model.data_preprocessor(film, False)
    network = predicting_network(model)
    # two-stage detectors need the film's geometry to propose boxes
    network.forward = partial(network.forward, data_samples=data['data_samples'])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            counted = get_model_complexity_info(
                network, inputs=data['inputs'], show_table=False, show_arch=False
            )
    finally:
        del network.forward
    return counted['flops'] / 1e9, list(data['inputs'].shape[1:])
