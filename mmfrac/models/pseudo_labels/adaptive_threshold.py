# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmfrac.models.postprocess import image_scores

OTHERS = ('soft', 'ignore')


@MODELS.register_module()
class AdaptiveThreshold(nn.Module):
    r"""Pseudo-label step with FreeMatch's self-adaptive threshold (Wang et al., ICLR 2023).

    .. math:: \tau \leftarrow \lambda \tau + (1 - \lambda)\, \frac{1}{N} \sum_n \max_i y_{n,i}

    In FreeMatch (arXiv 2205.07246, its global threshold) the maximum is that over the classes of one
    image; here it is the image score of a film, and cells are thresholded. Cells above tau are fracture,
    1. Its local threshold of each class is not needed: there is one. Its fairness loss is not part of
    this step.

    Args:
        momentum (float): Lambda. Defaults to 0.999.
        init (float): Tau before the first step; FreeMatch has one over the number of classes. Defaults
            to 0.5.
        others (str): What becomes of the other cells: 'soft' (they stay what the teacher says) or
            'ignore' (weight 0). Defaults to 'soft'.

    Raises:
        ValueError: When an option is out of range.
    """

    tau: Tensor

    def __init__(self, momentum: float = 0.999, init: float = 0.5, others: str = 'soft') -> None:
        super().__init__()
        if not (0 <= momentum < 1 and 0 < init < 1):
            raise ValueError(
                f'momentum must lie in [0, 1) and init in (0, 1), got {momentum} and {init}'
            )
        if others not in OTHERS:
            raise ValueError(f'others must be one of {OTHERS}, got {others!r}')
        self.momentum = momentum
        self.init = init
        self.others = others
        self.register_buffer('tau', torch.tensor(init, dtype=torch.float64))

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Maps ``(N, 1, h, w)`` in [0, 1] with 1 above tau, which follows the scores in training."""
        if self.training:
            score = image_scores(pseudo_map, teacher_samples).mean().to(self.tau)
            all_reduce(score, op='mean')
            self.tau.lerp_(score, 1 - self.momentum)
        is_fracture = pseudo_map > self.tau.to(pseudo_map)
        if self.others == 'ignore':
            weight = weight.masked_fill(~is_fracture, 0)
        return pseudo_map.masked_fill(is_fracture, 1), weight

    def forget(self) -> None:
        """Begin with ``init``, whatever tau another training had."""
        self.tau.fill_(self.init)

    def extra_repr(self) -> str:
        """The options."""
        return f'momentum={self.momentum}, others={self.others!r}'
