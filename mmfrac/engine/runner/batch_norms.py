# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Batch norms folded into the convolutions before them, for prediction."""

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from mmcv.cnn import ConvModule
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfrac.models.channels_last import WideConv2d

# sides of the image that shows whether a backbone still does what it did
_SIDE = 64


def fold_batch_norms(model: nn.Module) -> None:
    """Give convolutions the scale and shift of the batch norms behind them, in place, for prediction.

    Maps stay the same up to rounding. A model that was folded is not trained and saves no checkpoint.

    That a module defines a batch norm after a convolution does not say that it runs in that order.
    mmcv's ``fuse_conv_bn`` believes so, and drops the activations that timm's batch norms hold. Here a
    backbone is folded only if its features of a random image stay the same, the rest where the order is
    known: in ``ConvModule`` and ``nn.Sequential``.

    Args:
        model (nn.Module): With its weights loaded.
    """
    backbones = [
        module for name, module in model.named_modules() if name.rpartition('.')[2] == 'backbone'
    ]
    for backbone in backbones:
        if _stays_the_same(backbone):
            _fold_all(backbone)
    inside = {part for backbone in backbones for part in backbone.modules()}
    shared = _shared(model)
    for module in list(model.modules()):
        if module in inside:
            continue
        if isinstance(module, nn.Sequential) or (
            isinstance(module, ConvModule)
            and module.order.index('conv') < module.order.index('norm')
        ):
            _fold_children(module, shared)


def _fold_all(backbone: nn.Module) -> None:
    shared = _shared(backbone)
    for module in list(backbone.modules()):
        _fold_children(module, shared)


def _stays_the_same(backbone: nn.Module) -> bool:
    """Whether a folded copy has the features of a backbone; says so where it has not."""
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return False
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, first.in_channels, _SIDE, _SIDE, generator=generator).to(first.weight)
    try:
        twin = copy.deepcopy(backbone)
        twin.eval()
        for module in twin.modules():
            module._forward_hooks.clear()  # whose owner did not ask about this image
        with torch.no_grad():
            before = list(_tensors(twin(image)))
            _fold_all(twin)
            pairs = list(zip(before, _tensors(twin(image)), strict=True))
    except Exception as error:  # the backbone of another project, with whatever it asks of an image
        reason = f'{type(error).__name__} on an image of {_SIDE} px'
    else:
        if not all(one.isfinite().all() for one, _ in pairs):
            reason = f'its features of an image of {_SIDE} px are not finite'
        elif all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-4 * _size(one)) for one, other in pairs
        ):
            return True
        else:
            reason = 'folded, they would change its features'
    print_log(f'{type(backbone).__name__} keeps its batch norms: {reason}', logger='current')
    return False


def _size(features: Tensor) -> float:
    return max(float(features.abs().max()), 1e-3)


def _tensors(features: object) -> Iterator[Tensor]:
    if isinstance(features, Tensor):
        yield features.float()
    elif isinstance(features, (list, tuple)):
        for one in features:
            yield from _tensors(one)


def _shared(model: nn.Module) -> set[nn.Module]:
    """Modules that stand in several places, as RTMDet's convolutions do, each with a norm of its own."""
    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    return {module for module, count in places.items() if count > 1}


def _fold_children(module: nn.Module, shared: set[nn.Module]) -> None:
    """Fold each batch norm that is defined right after a convolution."""
    before: nn.Module | None = None
    for name, child in list(module.named_children()):
        # a subclass may do more to its weights than to convolve with them
        if (
            (type(before) is nn.Conv2d or type(before) is WideConv2d)
            and 'weight' in before._parameters  # spectral norm computes it anew each time
            and before not in shared
            and isinstance(child, _BatchNorm)
            and child.running_mean is not None
            and child.num_features == before.out_channels
        ):
            _fold(before, child)
            setattr(module, name, _behind(child))
        before = child


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    shift = -norm.running_mean
    if conv.bias is not None:
        shift = shift + conv.bias
    shift = shift * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    conv.weight = nn.Parameter((conv.weight * scale.view(-1, 1, 1, 1)).detach())
    conv.bias = nn.Parameter(shift.detach())


def _behind(norm: _BatchNorm) -> nn.Module:
    """What a batch norm does after normalising: nothing, or timm's drop and activation."""
    parts = [getattr(norm, name) for name in ('drop', 'act') if hasattr(norm, name)]
    return nn.Sequential(*parts) if parts else nn.Identity()
