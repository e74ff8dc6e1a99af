# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import warnings

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
        decay (float): Lambda, weight of the old value. Defaults to 0.999.
        init (float): Tau before the first step; FreeMatch has one over the number of classes. Defaults
            to 0.5.
        others (str): What becomes of the other cells: 'soft' (they stay what the teacher says) or
            'ignore' (weight 0). Defaults to 'soft'.
        momentum (float, optional): Former name of ``decay``. Defaults to None.

    Raises:
        ValueError: When an option is out of range.
    """

    tau: Tensor

    def __init__(
        self,
        decay: float = 0.999,
        init: float = 0.5,
        others: str = 'soft',
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        decay = decay_of(self, decay, momentum)
        if not 0 < init < 1:
            raise ValueError(f'init must lie in (0, 1), got {init}')
        if others not in OTHERS:
            raise ValueError(f'others must be one of {OTHERS}, got {others!r}')
        self.decay = decay
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
            self.tau.lerp_(score, 1 - self.decay)
        is_fracture = pseudo_map > self.tau.to(pseudo_map)
        if self.others == 'ignore':
            weight = weight.masked_fill(~is_fracture, 0)
        return pseudo_map.masked_fill(is_fracture, 1), weight

    def forget(self) -> None:
        """Begin with ``init``, whatever tau another training had."""
        self.tau.fill_(self.init)

    def extra_repr(self) -> str:
        """The options."""
        return f'decay={self.decay}, others={self.others!r}'


def decay_of(step: nn.Module, decay: float, momentum: float | None) -> float:
    """Weight of the old value in a moving average.

    Args:
        step (nn.Module): Whose it is.
        decay (float): In [0, 1).
        momentum (float, optional): The same under its former name, in place of ``decay``.

    Raises:
        ValueError: When it is out of range.
    """
    name = type(step).__name__
    if momentum is not None:
        warnings.warn(
            f'momentum of {name} is the former name of decay, the weight of the old value; elsewhere '
            'momentum is that of the new one',
            FutureWarning,
            stacklevel=3,
        )
        decay = momentum
    if not 0 <= decay < 1:
        raise ValueError(f'decay of {name} must lie in [0, 1), got {decay}')
    return decay
