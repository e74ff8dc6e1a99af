# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.postprocess import cells_of_images


def rank_thresholds(y: Tensor, valid: Tensor, fraction: float) -> Tensor:
    """Value of the cell at the end of the highest ``fraction`` of each image's cells.

    Args:
        y (Tensor): ``(N, 1, h, w)`` in [0, 1].
        valid (Tensor): ``(N, 1, h, w)`` bool, cells that count.
        fraction (float): In (0, 1]; at least one cell is meant.

    Returns:
        Tensor: ``(N, 1, 1, 1)``; that many valid cells (more where values are equal) are not below it.
    """
    ordered = y.masked_fill(~valid, -1).flatten(1).sort(dim=1, descending=True).values
    last = (valid.flatten(1).sum(1, keepdim=True) * fraction).ceil().long().clamp(min=1) - 1
    return ordered.gather(1, last).view(-1, 1, 1, 1)


@MODELS.register_module()
class TopCells(nn.Module):
    """Pseudo-label step with the learning region of Dense Teacher (Zhou et al., ECCV 2022).

    The highest ``learnt`` of an image's cells keep what the teacher says, the next ``ignored`` count in
    no loss, the others are taught as background. Dense Teacher (arXiv 2207.02541, its region division)
    learns the top 1 % and sets the rest to 0; that the next are ignored is our reading of its FPN
    region. Its quality focal loss is ``SoftFocalLoss`` with a0 = a1 = 1 and b = 2.

    Args:
        learnt (float): Share of the cells. Defaults to 0.01.
        ignored (float): Share of the cells. Defaults to 0.01.

    Raises:
        ValueError: When the shares are out of range.
    """

    def __init__(self, learnt: float = 0.01, ignored: float = 0.01) -> None:
        super().__init__()
        if not (learnt > 0 and ignored >= 0 and learnt + ignored <= 1):
            raise ValueError(
                f'learnt must be positive, ignored >= 0, their sum at most 1; got {learnt}, {ignored}'
            )
        self.learnt = learnt
        self.ignored = ignored

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Maps ``(N, 1, h, w)`` in [0, 1] of the learnt cells, and the weights without the ignored."""
        valid = cells_of_images(pseudo_map, teacher_samples)
        is_learnt = valid & (pseudo_map >= rank_thresholds(pseudo_map, valid, self.learnt))
        share = self.learnt + self.ignored
        is_near = valid & (pseudo_map >= rank_thresholds(pseudo_map, valid, share))
        if self.ignored:
            weight = weight.masked_fill(is_near & ~is_learnt, 0)
        return pseudo_map.masked_fill(~is_learnt, 0), weight

    def extra_repr(self) -> str:
        """The shares."""
        return f'learnt={self.learnt}, ignored={self.ignored}'
