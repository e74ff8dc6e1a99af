# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.models.losses.noisy_or_loss import log_noisy_or

POOLS = ('noisy_or', 'top_k')


@MODELS.register_module()
class MILLoss(nn.Module):
    r"""The label of an image as a loss beside L_semi: a positive image has a lesion somewhere.

    .. math:: L = -\log \Big(1 - \prod_j (1 - p_j)\Big) \quad \text{or} \quad
              L = -\log \frac{1}{k} \sum_{j \in top\,k} p_j

    of images with label 1; others do not count. Multiple-instance learning beside teacher and student
    stands in ORF-Netv2 (arXiv 2306.13301) and BRAIxDet (arXiv 2301.13418), whose own forms differ: that
    this is one of theirs is unverified. The noisy-OR is that of ``NoisyOrLoss``, over the maxima of a
    grid.

    Args:
        pool (str): 'noisy_or' or 'top_k'. Defaults to 'top_k'.
        k (int): Cells of 'top_k'. Defaults to 10.
        grid (int): Cells of the grid of 'noisy_or' along each side. Defaults to 32.
        loss_weight (float): Defaults to 1.

    Attributes:
        of_images (bool): True: it is given labels in place of a pseudo map.

    Raises:
        ValueError: When an option is out of range.
    """

    of_images = True

    def __init__(
        self, pool: str = 'top_k', k: int = 10, grid: int = 32, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f'pool must be one of {POOLS}, got {pool!r}')
        if k < 1 or grid < 1:
            raise ValueError(f'k and grid must be positive numbers of cells, got {k} and {grid}')
        self.pool = pool
        self.k = k
        self.grid = grid
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            valid (Tensor): ``(N, 1, h, w)`` bool, cells that count.
            labels (Tensor): ``(N,)`` int64; images with another label than 1 do not count.

        Returns:
            Tensor: Scalar, fp32, the mean over the images that count; 0 when there is none.
        """
        with torch.autocast(logits.device.type, enabled=False):
            cells = logits.float().masked_fill(~valid, torch.finfo(torch.float32).min)
            if self.pool == 'noisy_or':
                sides = [min(self.grid, side) for side in cells.shape[-2:]]
                pooled = torch.nn.functional.adaptive_max_pool2d(cells, sides).flatten(1)
                of_image = -log_noisy_or(pooled)
            else:
                top = cells.flatten(1).topk(min(self.k, cells[0].numel()), dim=1).values
                # log of the mean probability, without leaving logarithms
                log_probs = torch.nn.functional.logsigmoid(top)
                count = valid.flatten(1).sum(1).clamp(1, top.size(1)).to(log_probs)
                of_image = count.log() - log_probs.logsumexp(dim=1)
            counts = (labels == 1) & valid.flatten(1).any(dim=1)
            total = of_image.masked_fill(~counts, 0).sum()
            return self.loss_weight * total / counts.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The options."""
        return f'pool={self.pool!r}, k={self.k}, grid={self.grid}, loss_weight={self.loss_weight}'
