# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From losses of cells to one number, and the base of the losses between two maps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


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


class SemiLoss(nn.Module, ABC):
    """An L_semi: a loss of each cell, reduced over the valid cells; in fp32, also under AMP.

    Args:
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'``. Defaults to
            ``'mean'``.
        loss_weight (float): Defaults to 1.

    Raises:
        ValueError: When ``reduction`` is neither.
    """

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    @abstractmethod
    def cells(self, logits: Tensor, pseudo_map: Tensor) -> Tensor:
        """Loss of each cell, fp32, all of shape ``(N, 1, h, w)``."""

    def forward(self, logits: Tensor, pseudo_map: Tensor, valid: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            pseudo_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
            valid (Tensor): ``(N, 1, h, w)`` bool; cells that count.

        Returns:
            Tensor: Scalar, fp32.
        """
        with torch.autocast(logits.device.type, enabled=False):
            cells = self.cells(logits.float(), pseudo_map.float())
            return self.loss_weight * reduce_cells(cells, valid, self.reduction)
