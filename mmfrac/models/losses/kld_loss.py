# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.models.losses.reduction import check_reduction, reduce_cells


@MODELS.register_module()
class KLDLoss(nn.Module):
    r"""Kullback-Leibler divergence of the student from the pseudo map (paper, section 2.2).

    .. math:: L_{semi} = \sum_i p'_i \log \frac{p'_i}{p_{s,i}}
                       + (1 - p'_i) \log \frac{1 - p'_i}{1 - p_{s,i}}

    It equals the binary cross-entropy minus the entropy of ``p'``, which is how it is computed: from
    logits in fp32, so that it is finite for ``p'`` in {0, 1} and for any logit.

    Args:
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'`` as the paper
            writes it. Defaults to ``'mean'``.
        loss_weight (float): Defaults to 1.
        alpha_r (float): Weight of a cell that is 1 in the pseudo map; one of 0 weighs 1, and those
            between linearly. Not in the paper, which uses it in L_sup alone. Defaults to 1.

    Raises:
        ValueError: When ``reduction`` is neither, or ``alpha_r`` is not positive.
    """

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0, alpha_r: float = 1.0
    ) -> None:
        super().__init__()
        if alpha_r <= 0:
            raise ValueError(f'alpha_r must be positive, got {alpha_r}')
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.alpha_r = alpha_r

    def forward(self, logits: Tensor, pseudo_map: Tensor, valid: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            pseudo_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
            valid (Tensor): ``(N, 1, h, w)`` bool; cells that count.

        Returns:
            Tensor: Scalar.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, pseudo_map = logits.float(), pseudo_map.float()
            cross_entropy = F.binary_cross_entropy_with_logits(logits, pseudo_map, reduction='none')
            entropy = torch.special.entr(pseudo_map) + torch.special.entr(1 - pseudo_map)
            cells = (cross_entropy - entropy) * (1 + (self.alpha_r - 1) * pseudo_map)
            return self.loss_weight * reduce_cells(cells, valid, self.reduction)
