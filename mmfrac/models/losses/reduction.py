# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from torch import Tensor


def check_reduction(reduction: str) -> str:
    """``reduction``, or a ``ValueError`` when it is neither ``'mean'`` nor ``'sum'``."""
    if reduction not in ('mean', 'sum'):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    return reduction


def reduce_cells(cells: Tensor, valid: Tensor, reduction: str) -> Tensor:
    """Mean or sum of per-cell losses over the valid cells.

    Args:
        cells (Tensor): ``(N, 1, h, w)``.
        valid (Tensor): ``(N, 1, h, w)`` bool; other cells do not count, whatever their value.
        reduction (str): ``'mean'`` (0 when no cell is valid) or ``'sum'``.

    Returns:
        Tensor: Scalar.
    """
    total = cells.masked_fill(~valid, 0).sum()
    return total if reduction == 'sum' else total / valid.sum().clamp(min=1)
