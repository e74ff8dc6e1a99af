# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""``mmcv._ext`` for an mmcv that was installed without its compiled operators (``mmcv-lite``).

Compiling mmcv takes a compiler and many minutes, and mmdet imports ``mmcv._ext`` although no detector of
mmfrac calls it. Where it is missing, ``install`` puts a module in its place that has the two operators
mmdet's box detectors call: ``nms`` and ``roi_align`` (forward and backward). Every other operator raises
one sentence when it is called. Operators that are installed are used as they are.

On a CPU the two run in numba; on another device torchvision's operators run where they load, and else
the tensors make a detour over the CPU, about which one warning is given.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

NAME = 'mmcv._ext'
HOW_TO_BUILD = (
    'bash tools/setup_env.sh --with-mmcv-ops builds mmcv with it, as does MMCV_WITH_OPS=1 pip '
    'install --no-build-isolation --no-binary mmcv mmcv==2.1.0 after pip uninstall mmcv-lite'
)


def install() -> None:
    """Put the stand-in where ``mmcv._ext`` is missing; one that is there and does not load is left.

    To be called before the first import of ``mmdet.models``.
    """
    if NAME in sys.modules:
        return
    try:
        missing = importlib.util.find_spec(NAME) is None
    except ImportError:  # no mmcv at all: the check of the environment says so
        return
    if missing:
        sys.modules[NAME] = _StandIn(NAME, 'nms and roi_align without compiled operators of mmcv.')


def are_compiled() -> bool:
    """Whether mmcv's own operators are used."""
    return not isinstance(importlib.import_module(NAME), _StandIn)


class _StandIn(ModuleType):
    """Module whose every name is an operator: mmcv asserts at import that all of them are there."""

    __file__ = __file__

    def __init__(self, name: str, about: str = '') -> None:
        super().__init__(name, about)
        # without a loader mmengine takes mmcv for one without operators, as it is
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)
        if name in _OPERATORS:
            return _OPERATORS[name]

        def operator(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(
                f"mmcv's operator '{name}' needs an mmcv with compiled operators: {HOW_TO_BUILD}"
            )

        return operator


# ---- non-maximum suppression -----------------------------------------------------------------------


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes (Tensor): (n, 4) xyxy.
        scores (Tensor): (n,).
        iou_threshold (float): A box that overlaps a kept one by more is dropped.
        offset (int): 0, or 1 where x2 and y2 are the last pixels that a box holds.

    Returns:
        Tensor: int64 indices of the kept boxes, highest score first.
    """
    if boxes.device.type != 'cpu':
        if offset == 0 and _torchvision(boxes.device.type):
            return torch.ops.torchvision.nms(boxes, scores, iou_threshold)
        kept = nms(boxes.cpu(), scores.cpu(), iou_threshold=iou_threshold, offset=offset)
        return kept.to(boxes.device)
    order = scores.sort(0, descending=True).indices  # of equal scores the one that mmcv takes first
    ordered = boxes.detach()[order].float().numpy()
    kept = torch.from_numpy(_kept(ordered, np.float32(iou_threshold), np.float32(offset)))
    return order[kept]


@njit(cache=True)
def _kept(boxes, threshold, offset):
    """Mask of the boxes that no better box suppresses; boxes have the best first."""
    count = len(boxes)
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    kept = np.ones(count, np.bool_)
    zero = np.float32(0)
    for i in range(count):
        if not kept[i]:
            continue
        left, top, right, bottom = boxes[i]
        for j in range(i + 1, count):
            if not kept[j]:
                continue
            width = min(right, boxes[j, 2]) - max(left, boxes[j, 0]) + offset
            height = min(bottom, boxes[j, 3]) - max(top, boxes[j, 1]) + offset
            overlap = max(zero, width) * max(zero, height)
            union = areas[i] + areas[j] - overlap
            # written so that boxes without an area do not divide by zero
            if union != 0 and overlap / union > threshold:
                kept[j] = False
    return kept


# ---- RoIAlign --------------------------------------------------------------------------------------

_MAX, _AVERAGE = 0, 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., Mask R-CNN, section 3) with bilinear samples, into ``output``.

    Args:
        input (Tensor): (N, C, H, W).
        rois (Tensor): (n, 5): index of the image, then xyxy.
        output (Tensor): (n, C, aligned_height, aligned_width), written.
        argmax_y (Tensor): As ``output`` where ``pool_mode`` is 0, written: number of the sample that was
            taken, from the region's upper edge; -1 where it lies outside of the input.
        argmax_x (Tensor): Likewise, from its left edge.
        aligned_height (int): Rows of bins.
        aligned_width (int): Columns of bins.
        spatial_scale (float): Size of ``input`` divided by that of the image.
        sampling_ratio (int): Samples of a bin in each direction; 0 takes one for each input cell.
        pool_mode (int): 0 takes the maximum of a bin's samples, 1 their mean.
        aligned (bool): Whether half a cell is taken off, so that cells are sampled at their centres.
    """
    device = input.device.type
    if device != 'cpu' and pool_mode == _AVERAGE and _torchvision(device):
        output.copy_(
            torch.ops.torchvision.roi_align(
                input,
                rois,
                spatial_scale,
                aligned_height,
                aligned_width,
                sampling_ratio,
                aligned,
            )
        )
        return
    values = np.empty(output.shape, np.float32)
    rows, columns = (
        np.full(values.shape if pool_mode == _MAX else (0, 0, 0, 0), -1, np.float32)
        for _ in range(2)
    )
    _forward(
        _array(input),
        _array(rois),
        values,
        rows,
        columns,
        np.float32(spatial_scale),
        sampling_ratio,
        pool_mode == _MAX,
        np.float32(0.5 if aligned else 0),
    )
    output.copy_(torch.from_numpy(values))
    if pool_mode == _MAX:
        argmax_y.copy_(torch.from_numpy(rows))
        argmax_x.copy_(torch.from_numpy(columns))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` by its input, added to ``grad_input`` (N, C, H, W)."""
    device = grad_output.device.type
    if device != 'cpu' and pool_mode == _AVERAGE and _torchvision(device):
        grad_input.add_(
            torch.ops.torchvision._roi_align_backward(
                grad_output,
                rois,
                spatial_scale,
                aligned_height,
                aligned_width,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
        return
    gradient = np.zeros(grad_input.shape, np.float32)
    _backward(
        _array(grad_output),
        _array(rois),
        _array(argmax_y) if pool_mode == _MAX else np.zeros((0, 0, 0, 0), np.float32),
        _array(argmax_x) if pool_mode == _MAX else np.zeros((0, 0, 0, 0), np.float32),
        gradient,
        np.float32(spatial_scale),
        sampling_ratio,
        pool_mode == _MAX,
        np.float32(0.5 if aligned else 0),
    )
    grad_input.add_(torch.from_numpy(gradient).to(grad_input))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to('cpu', torch.float32).contiguous().numpy()


@njit(cache=True)
def _grid(roi, scale, half, bins, cells, ratio):
    """Samples of one region along one axis, bin by bin.

    Returns their number a bin, and for each sample the two cells that it lies between (-1: it lies
    outside) and the weight of the second.
    """
    start, end = roi[0] * scale - half, roi[1] * scale - half
    length = end - start
    if half == 0:
        length = max(length, np.float32(1))
    step = length / np.float32(bins)
    samples = ratio if ratio > 0 else int(np.ceil(length / np.float32(bins)))
    samples = max(samples, 0)
    low = np.empty(bins * samples, np.int64)
    high = np.empty(bins * samples, np.int64)
    weight = np.empty(bins * samples, np.float32)
    for one in range(bins):
        for sample in range(samples):
            i = one * samples + sample
            y = (
                start
                + np.float32(one) * step
                + (np.float32(sample) + np.float32(0.5)) * step / np.float32(samples)
            )
            if y < -1 or y > cells:
                low[i], high[i], weight[i] = -1, -1, 0
                continue
            y = max(y, np.float32(0))
            low[i] = int(y)
            if low[i] >= cells - 1:
                low[i] = high[i] = cells - 1
                weight[i] = 0
            else:
                high[i] = low[i] + 1
                weight[i] = y - np.float32(low[i])
    return samples, low, high, weight


@njit(cache=True)
def _grids(roi, cells, bins, scale, ratio, half):
    """Samples of a region (image, x1, y1, x2, y2) by rows and by columns, see :func:`_grid`."""
    rows = _grid(roi[2::2], scale, half, bins[0], cells[0], ratio)
    return rows, _grid(roi[1:4:2], scale, half, bins[1], cells[1], ratio)


@njit(cache=True)
def _forward(cells, rois, values, rows, columns, scale, ratio, is_max, half):
    one = np.float32(1)
    for n in range(len(rois)):
        image = int(rois[n, 0])
        bins_y, bins_x = values.shape[2:]
        (count_y, y0, y1, wy), (count_x, x0, x1, wx) = _grids(
            rois[n], cells.shape[2:], values.shape[2:], scale, ratio, half
        )
        samples = np.float32(max(count_y * count_x, 1))
        for channel in range(cells.shape[1]):
            plane = cells[image, channel]
            for by in range(bins_y):
                for bx in range(bins_x):
                    total = np.float32(0)
                    best = np.float32(-10000)
                    for i in range(by * count_y, (by + 1) * count_y):
                        for j in range(bx * count_x, (bx + 1) * count_x):
                            value = np.float32(0)
                            if y0[i] >= 0 and x0[j] >= 0:
                                value = (
                                    (one - wy[i]) * (one - wx[j]) * plane[y0[i], x0[j]]
                                    + (one - wy[i]) * wx[j] * plane[y0[i], x1[j]]
                                    + wy[i] * (one - wx[j]) * plane[y1[i], x0[j]]
                                    + wy[i] * wx[j] * plane[y1[i], x1[j]]
                                )
                            total += value
                            if is_max and value > best:
                                best = value
                                rows[n, channel, by, bx] = i if y0[i] >= 0 and x0[j] >= 0 else -1
                                columns[n, channel, by, bx] = j
                    values[n, channel, by, bx] = best if is_max else total / samples


@njit(cache=True)
def _add(plane, y0, y1, wy, x0, x1, wx, value):
    one = np.float32(1)
    plane[y0, x0] += (one - wy) * (one - wx) * value
    plane[y0, x1] += (one - wy) * wx * value
    plane[y1, x0] += wy * (one - wx) * value
    plane[y1, x1] += wy * wx * value


@njit(cache=True)
def _backward(gradient, rois, rows, columns, result, scale, ratio, is_max, half):
    for n in range(len(rois)):
        image = int(rois[n, 0])
        bins_y, bins_x = gradient.shape[2:]
        (count_y, y0, y1, wy), (count_x, x0, x1, wx) = _grids(
            rois[n], result.shape[2:], gradient.shape[2:], scale, ratio, half
        )
        samples = np.float32(max(count_y * count_x, 1))
        for channel in range(result.shape[1]):
            plane = result[image, channel]
            for by in range(bins_y):
                for bx in range(bins_x):
                    value = gradient[n, channel, by, bx]
                    if is_max:
                        i, j = int(rows[n, channel, by, bx]), int(columns[n, channel, by, bx])
                        if i >= 0:
                            _add(plane, y0[i], y1[i], wy[i], x0[j], x1[j], wx[j], value)
                        continue
                    for i in range(by * count_y, (by + 1) * count_y):
                        for j in range(bx * count_x, (bx + 1) * count_x):
                            if y0[i] >= 0 and x0[j] >= 0:
                                _add(
                                    plane, y0[i], y1[i], wy[i], x0[j], x1[j], wx[j], value / samples
                                )


# ---- helpers ---------------------------------------------------------------------------------------


@lru_cache
def _torchvision(device: str) -> bool:
    """Whether torchvision's operators load; warns once about the detour where they do not."""
    try:
        importlib.import_module('torchvision')
        return bool(torch.ops.torchvision.nms and torch.ops.torchvision.roi_align)
    except (ImportError, OSError, RuntimeError, AttributeError):
        warnings.warn(
            f'nms and roi_align run on the CPU, as neither compiled operators of mmcv nor those of '
            f'torchvision load for {device}: {HOW_TO_BUILD}',
            stacklevel=2,
        )
        return False


_OPERATORS: dict[str, Callable] = {
    'nms': nms,
    'roi_align_forward': roi_align_forward,
    'roi_align_backward': roi_align_backward,
}
