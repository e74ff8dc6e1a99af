# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

# below it log(softplus(x)) = x and log(1 - exp(-exp(x))) = x in single precision
_SMALL = -15.0


def log_noisy_or(logits: Tensor) -> Tensor:
    r"""Logarithm of the noisy-OR of probabilities, :math:`\log(1 - \prod_j (1 - p_j))`.

    With :math:`1 - p_j = e^{-\mathrm{softplus}(x_j)}` it is :math:`\log(1 - e^{-s})`, where ``s`` is the
    sum of the softplus values, summed up as logarithms. Finite, with a finite gradient, for every finite
    logit, however small or near to 1 the probabilities are.

    Args:
        logits (Tensor): ``(N, J)`` logits of ``p``.

    Returns:
        Tensor: ``(N,)``, <= 0.
    """
    # torch.where lets the gradient of both sides through, so neither may overflow
    log_softplus = torch.where(logits < _SMALL, logits, F.softplus(logits.clamp(min=_SMALL)).log())
    log_sum = log_softplus.logsumexp(dim=1)
    # exp(-20) is far below the precision of 1
    inner = log_sum.clamp(_SMALL, 3.0).exp()
    return torch.where(log_sum < _SMALL, log_sum, torch.log(-torch.expm1(-inner)))


@MODELS.register_module()
class NoisyOrLoss(nn.Module):
    r"""Loss of localization with limited supervision (Li et al. [7]), in place of L_sup.

    The map is max-pooled to a grid of cells ``j``. Of a film with label 1 and no boxes at least one cell
    is a fracture, of one with label 0 none is, and boxes say which are:

    .. math::
        L = \begin{cases}
        -\log(1 - \prod_j (1 - p_j)) & \text{label 1 without regions} \\
        -\sum_j \log(1 - p_j) & \text{label 0} \\
        -\beta \sum_{j \in box} \log p_j - \beta \sum_{j \notin box} \log(1 - p_j) & \text{regions}
        \end{cases}

    The losses of the films are averaged. So films without boxes train the network without a teacher.

    Args:
        grid (int): Cells of the grid along each side; the original has 20. Defaults to 32.
        box_weight (float): ``beta`` for films with boxes, as in the original. Defaults to 5.
        loss_weight (float): Defaults to 1.

    Attributes:
        needs_mask (bool): False: films whose mask is not known count, too.

    Raises:
        ValueError: When ``grid`` or ``box_weight`` is not positive.
    """

    needs_mask = False

    def __init__(self, grid: int = 32, box_weight: float = 5.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f'grid must be a positive number of cells, got {grid}')
        if not box_weight > 0:
            raise ValueError(f'box_weight must be positive, got {box_weight}')
        self.grid = grid
        self.box_weight = box_weight
        self.loss_weight = loss_weight

    def forward(
        self, logits: Tensor, target: Tensor, valid: Tensor, labels: Tensor, mask_known: Tensor
    ) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)``.
            target (Tensor): ``(N, 1, h, w)`` mask in [0, 1]; looked at where it is known.
            valid (Tensor): ``(N, 1, h, w)`` bool; cells that count.
            labels (Tensor): ``(N,)`` int64, 0, 1 or -1; films with -1 do not count.
            mask_known (Tensor): ``(N,)`` bool, whether ``target`` is the film's mask.

        Returns:
            Tensor: Scalar, fp32.
        """
        with torch.autocast(logits.device.type, enabled=False):
            outside = torch.finfo(torch.float32).min
            pooled = self._pool(logits.float().masked_fill(~valid, outside))
            mask = self._pool(target.float().masked_fill(~valid, 0))
            cells = F.binary_cross_entropy_with_logits(pooled, mask, reduction='none').sum(dim=1)
            of_mask = torch.where(labels == 1, self.box_weight * cells, cells)
            per_image_loss = torch.where(mask_known, of_mask, -log_noisy_or(pooled))
            counts = (labels >= 0) & valid.flatten(1).any(dim=1)
            total = per_image_loss.masked_fill(~counts, 0).sum()
            return self.loss_weight * total / counts.sum().clamp(min=1)

    def _pool(self, cells: Tensor) -> Tensor:
        sides = [min(self.grid, side) for side in cells.shape[-2:]]
        return F.adaptive_max_pool2d(cells, sides).flatten(1)
