# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.models.losses.cell_loss import check_reduction, reduce_cells
from mmfrac.models.losses.kld_loss import kld_cells


@MODELS.register_module()
class WindowLoss(nn.Module):
    r"""Loss between a lower and an upper bound of the map, for point annotations (window loss [16]).

    .. math::
        L = \sum_i \begin{cases} KLD(l_i \| p_i) & p_i < l_i \\ KLD(u_i \| p_i) & p_i > u_i \\
        0 & l_i \le p_i \le u_i \end{cases}

    In place of L_sup; ``WindowTarget`` makes the bounds. Cells are weighted as in ``WeightedBCELoss``:
    without a weight the few cells near to points drown in the empty ones.

    Args:
        alpha_r (float): Weight of cells below their lower bound. Defaults to 10.
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'``. Defaults to
            ``'mean'``.
        loss_weight (float): Defaults to 1.

    Raises:
        ValueError: When an option is not one of the above.
    """

    def __init__(
        self, alpha_r: float = 10.0, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if alpha_r <= 0:
            raise ValueError(f'alpha_r must be positive, got {alpha_r}')
        self.alpha_r = alpha_r
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)``.
            target (Tensor): ``(N, 2, h, w)`` in [0, 1]: lower bounds, upper bounds.
            valid (Tensor): ``(N, 1, h, w)`` bool; cells that count.
            labels (Tensor): Not used.

        Returns:
            Tensor: Scalar, fp32.

        Raises:
            ValueError: When ``target`` is no pair of bounds.
        """
        if target.size(1) != 2:
            raise ValueError(
                f'WindowLoss needs lower and upper bounds (N, 2, h, w), got {tuple(target.shape)}: put '
                'WindowTarget in the place of ProbMapTarget'
            )
        with torch.autocast(logits.device.type, enabled=False):
            logits, target = logits.float(), target.float()
            lower, upper = target.split(1, dim=1)
            prob = logits.detach().sigmoid()
            too_low = kld_cells(logits, lower).masked_fill(prob >= lower, 0)
            too_high = kld_cells(logits, upper).masked_fill(prob <= upper, 0)
            cells = self.alpha_r * too_low + too_high
            return self.loss_weight * reduce_cells(cells, valid, self.reduction)
