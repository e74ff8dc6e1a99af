# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.registry import MODELS
from torch import Tensor

from mmfrac.models.losses.cell_loss import SemiLoss


@MODELS.register_module()
class MapMSELoss(SemiLoss):
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

    def cells(self, logits: Tensor, pseudo_map: Tensor) -> Tensor:
        """Squared error of each cell."""
        return (logits.sigmoid() - pseudo_map) ** 2
