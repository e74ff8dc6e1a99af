# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn


def temperature_sharpen(y: Tensor, temperature: float) -> Tensor:
    r"""Temperature sharpening of a binary probability (MixMatch [11], two classes).

    .. math:: S(y) = \frac{y^{1/T}}{y^{1/T} + (1 - y)^{1/T}} = \sigma(\mathrm{logit}(y) / T)

    ``S(0) = 0``, ``S(0.5) = 0.5`` and ``S(1) = 1`` for every ``T``.

    Args:
        y (Tensor): Prob map of any shape, in [0, 1].
        temperature (float): ``T`` > 0; below 1 it sharpens.

    Returns:
        Tensor: Shape and dtype of ``y``.

    Raises:
        ValueError: When ``T`` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    return torch.sigmoid(torch.logit(y.float()) / temperature).to(y.dtype)


@MODELS.register_module()
class TemperatureSharpening(nn.Module):
    """Pseudo-label step that sharpens with a temperature (MixMatch [11]; FocalMix [8] with 0.7).

    Args:
        temperature (float): Below 1 it sharpens. Defaults to 0.5.

    Raises:
        ValueError: When it is not positive.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.temperature = temperature

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Sharpen maps ``(N, 1, h, w)`` in [0, 1]; weight and samples are not used."""
        return temperature_sharpen(pseudo_map, self.temperature), weight

    def extra_repr(self) -> str:
        """The temperature."""
        return f'temperature={self.temperature}'
