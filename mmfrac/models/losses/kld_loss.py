# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from mmfrac.models.losses.alpha_r import AlphaR
from mmfrac.models.losses.cell_loss import SemiLoss


def kld_cells(logits: Tensor, target: Tensor) -> Tensor:
    """Divergence of each cell's ``sigmoid(logits)`` from its ``target`` in [0, 1], of any shape.

    It is the cross-entropy minus the entropy of the target: finite for targets 0 and 1 and any logit.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return cross_entropy - torch.special.entr(target) - torch.special.entr(1 - target)


@MODELS.register_module()
class KLDLoss(SemiLoss):
    r"""Kullback-Leibler divergence of the student from the pseudo map (paper, section 2.2).

    .. math:: L_{semi} = \sum_i p'_i \log \frac{p'_i}{p_{s,i}}
                       + (1 - p'_i) \log \frac{1 - p'_i}{1 - p_{s,i}}

    Computed from logits in fp32, also under AMP: see ``kld_cells``.

    Args:
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'`` as the paper
            writes it. Defaults to ``'mean'``.
        loss_weight (float): Defaults to 1.
        alpha_r (float | str): Weight of a cell that is 1 in the pseudo map; one of 0 weighs 1, and
            those between linearly. ``'auto'``: that of L_sup. Not in the paper, which uses it in L_sup
            alone. Defaults to 1.

    Raises:
        ValueError: When ``reduction`` is neither, or ``alpha_r`` is neither positive nor ``'auto'``.

    Attributes:
        weighs_fracture_cells (bool): Whether ``alpha_r`` is another than 1, once the model is built.
    """

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0, alpha_r: float | str = 1.0
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.alpha_r = AlphaR(alpha_r, type(self).__name__)

    def attach(self, student: Any) -> None:
        """Learn the ``alpha_r`` of L_sup of a ``ProbMapDetector``."""
        self.alpha_r.attach(student)

    @property
    def weighs_fracture_cells(self) -> bool:
        """See the class."""
        return self.alpha_r() != 1

    def cells(self, logits: Tensor, pseudo_map: Tensor) -> Tensor:
        """Divergence of each cell, weighted by ``alpha_r``."""
        return kld_cells(logits, pseudo_map) * (1 + (self.alpha_r() - 1) * pseudo_map)
