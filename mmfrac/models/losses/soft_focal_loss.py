# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from mmfrac.models.losses.cell_loss import SemiLoss

SMALLEST = 1e-6  # distance of prediction and target


@MODELS.register_module()
class SoftFocalLoss(SemiLoss):
    r"""Focal loss for soft targets (FocalMix [8]).

    .. math:: SFL(p, y) = [a_0 + y (a_1 - a_0)]\; |y - p|^b\; CE(y, p)

    Computed from logits in fp32, also under AMP.

    Args:
        a0 (float): Weight of cells with ``y = 0``. Defaults to 0.05.
        a1 (float): Weight of cells with ``y = 1``. Defaults to 0.95.
        b (float): Exponent of the focus, >= 0. Defaults to 2.
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'``. Defaults to
            ``'mean'``.
        loss_weight (float): Defaults to 1.

    Raises:
        ValueError: When an option is out of range.
    """

    def __init__(
        self,
        a0: float = 0.05,
        a1: float = 0.95,
        b: float = 2.0,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if not (a0 >= 0 and a1 >= 0):
            raise ValueError(f'a0 and a1 must be >= 0, got {a0} and {a1}')
        if not b >= 0:
            raise ValueError(f'b must be >= 0, got {b}')
        self.a0 = a0
        self.a1 = a1
        self.b = b

    def cells(self, logits: Tensor, pseudo_map: Tensor) -> Tensor:
        """Soft focal loss of each cell."""
        cross_entropy = F.binary_cross_entropy_with_logits(logits, pseudo_map, reduction='none')
        # at 0 a root, b < 1, has no derivative
        distance = (pseudo_map - logits.sigmoid()).abs().clamp(min=SMALLEST)
        focus = distance**self.b
        return (self.a0 + pseudo_map * (self.a1 - self.a0)) * focus * cross_entropy
