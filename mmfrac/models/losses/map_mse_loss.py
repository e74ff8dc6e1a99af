# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.models.losses.reduction import check_reduction, reduce_cells


@MODELS.register_module()
class MapMSELoss(nn.Module):
    r"""Squared error between student and pseudo map, the consistency loss of the originals of the
    Pi-model and Temporal Ensembling [9] and Mean Teacher [10].

    .. math:: L_{semi} = \frac{1}{n} \sum_i (p_{s,i} - p'_i)^2

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
            cells = (logits.float().sigmoid() - pseudo_map.float()) ** 2
            return self.loss_weight * reduce_cells(cells, valid, self.reduction)
