# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Networks in torch's ``channels_last`` memory format, no slower for it on any CPU."""

import logging
import platform
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmfrac.utils.device import uses_wide_units

# of both sides of a convolution whose gradient is slow; below, the copies cost what they save
_WIDE = 64


def use_channels_last(model: nn.Module) -> None:
    """Bring a network into torch's ``channels_last`` memory format; features follow the weights.

    Left as it is, with a line in the log, where several threads would end the process: torch 2.13
    (oneDNN 3.12) on CPUs with AVX-512 writes past its buffers in the backward pass of a strided 1 x 1
    convolution from 8 to 12 channels to 16.

    On x86 CPUs without AVX-512 the gradient of the weights of wide convolutions takes two to three times
    as long in it: that alone is computed in the usual format there.

    Args:
        model (nn.Module): Changed in place.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and _crashes(module) and torch.get_num_threads() > 1:
            print_log(
                f'{type(model).__name__} stays without channels_last: {name}, a strided 1 x 1 '
                f'convolution of {module.in_channels} channels, would crash in it with several threads',
                logger='current',
                level=logging.WARNING,
            )
            return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not _has_slow_gradients():
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_wide(module):
            module.__class__ = WideConv2d


def _crashes(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride != (1, 1) and conv.in_channels < 16


def _has_slow_gradients() -> bool:
    """Whether oneDNN does without AVX-512 on this x86 CPU, or has to (``ONEDNN_MAX_CPU_ISA``)."""
    is_x86 = platform.machine().lower() in ('x86_64', 'amd64')
    return is_x86 and torch.backends.mkldnn.is_available() and not uses_wide_units()


def _is_wide(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size != (1, 1)
        and conv.groups == 1
        and conv.padding_mode == 'zeros'
        and not isinstance(conv.padding, str)
        and min(conv.in_channels, conv.out_channels) >= _WIDE
    )


class WideConv2d(nn.Conv2d):
    """A convolution that computes the gradient of its weights in the usual memory format."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        is_plain = (
            not (torch.is_grad_enabled() and weight.requires_grad)
            or (input.device.type, input.dtype) != ('cpu', torch.float32)
            or torch.is_autocast_enabled('cpu')
            or torch.jit.is_tracing()
            or torch.compiler.is_compiling()
        )
        if is_plain or not input.is_contiguous(memory_format=torch.channels_last):
            return super()._conv_forward(input, weight, bias)
        return _Convolution.apply(input, weight, bias, self.stride, self.padding, self.dilation)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return F.conv2d(x, weight, bias, *how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, wants_weight, wants_bias, *others = ctx.needs_input_grad
        x, weight = ctx.saved_tensors
        how = (None, *ctx.how, False, [0, 0], 1)
        backward = torch.ops.aten.convolution_backward
        of_x = of_weight = of_bias = None
        if wants_x:
            of_x = backward(grad, x, weight, *how, [True, False, False])[0]
        if wants_weight:
            usual = (tensor.contiguous() for tensor in (grad, x, weight))
            of_weight = backward(*usual, *how, [False, True, False])[1]
        if wants_bias:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, *(None for _ in others)
