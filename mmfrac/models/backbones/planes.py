# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A radiograph has one plane, most backbones take three."""

from torch import Tensor, nn


def takes_grey(backbone: nn.Module) -> bool:
    """Whether the first convolution of a backbone has one input channel.

    Args:
        backbone (nn.Module): The backbone.
    """
    convolutions = (part for part in backbone.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    return first is not None and first.in_channels == 1


def with_planes(images: Tensor, grey: bool) -> Tensor:
    """Give a grey plane to all three channels of a backbone that does not take it as it is.

    Args:
        images (Tensor): ``(N, 1, H, W)`` or ``(N, 3, H, W)``.
        grey (bool): See ``takes_grey``.

    Returns:
        Tensor: ``(N, 3, H, W)`` without a copy, or ``images``.
    """
    return images.expand(-1, 3, -1, -1) if images.size(1) == 1 and not grey else images
