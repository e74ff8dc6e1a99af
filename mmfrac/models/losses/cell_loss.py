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


def reduce_cells(cells: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Weighted mean or sum of per-cell losses.

    Args:
        cells (Tensor): ``(N, 1, h, w)``.
        weight (Tensor): ``(N, 1, h, w)``, floating point >= 0 or bool; a cell with 0 does not count,
            whatever its value.
        reduction (str): ``'mean'``, over the sum of the weights (0 when that is 0), or ``'sum'``.

    Returns:
        Tensor: Scalar.
    """
    counts = weight > 0
    if weight.dtype != torch.bool:
        cells = cells * weight
    total = cells.masked_fill(~counts, 0).sum()
    if reduction == 'sum':
        return total
    weights = weight.sum()
    return total / weights.masked_fill(weights == 0, 1)


class SemiLoss(nn.Module, ABC):
    """An L_semi: a loss of each cell, times its weight, reduced; in fp32, also under AMP.

    Args:
        reduction (str): ``'mean'`` over the weights of the batch, or ``'sum'``. Defaults to ``'mean'``.
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

    def forward(self, logits: Tensor, pseudo_map: Tensor, weight: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            pseudo_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
            weight (Tensor): ``(N, 1, h, w)`` of each cell, floating point or bool; 0 leaves it out.

        Returns:
            Tensor: Scalar, fp32.
        """
        with torch.autocast(logits.device.type, enabled=False):
            cells = self.cells(logits.float(), pseudo_map.float())
            return self.loss_weight * reduce_cells(cells, weight, self.reduction)
