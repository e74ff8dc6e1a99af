# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.postprocess import image_scores


def asymmetric_sharpen(y: Tensor, a: Tensor, t: float) -> Tensor:
    r"""Adaptive asymmetric label sharpening, AALS [12].

    .. math:: S(y) = \mathrm{expit}(a\, \mathrm{logit}(y) + (1 - a)\, \mathrm{logit}(t)), \quad
              y' = \max(S(y), y)

    ``S(t) = t``; only what lies above ``t`` is changed, upwards.

    Args:
        y (Tensor): ``(N, 1, h, w)`` prob maps in [0, 1].
        a (Tensor): ``(N, 1, 1, 1)`` sharpening strength of each map, >= 1.
        t (float): Sharpening centre, in (0, 1).

    Returns:
        Tensor: Shape and dtype of ``y``.
    """
    centre = math.log(t / (1 - t))
    sharp = torch.sigmoid(a * torch.logit(y.float()) + (1 - a) * centre).to(y.dtype)
    return torch.maximum(sharp, y)


def asymmetric_strength(score: Tensor, a0: float) -> Tensor:
    r"""Strength by image score, ``a = a_0 - (a_0 - 1) y_{max}`` (AALS [12]): the surer, the less."""
    return a0 - (a0 - 1) * score


@MODELS.register_module()
class AdaptiveAsymmetricSharpening(nn.Module):
    """Pseudo-label step of adaptive asymmetric label sharpening, AALS (Wang et al. [12]).

    It raises what lies above ``t``, the more the less sure the map's maximum is, and lowers nothing.

    Args:
        a0 (float): Strength at an image score of 0, >= 1. Defaults to 4, which is unverified: our
            source does not state the value of the original.
        t (float): Sharpening centre, in (0, 1). Defaults to 0.4.

    Raises:
        ValueError: When ``a0`` or ``t`` is out of range.
    """

    def __init__(self, a0: float = 4.0, t: float = 0.4) -> None:
        super().__init__()
        if not a0 >= 1:
            raise ValueError(f'a0 must be at least 1, got {a0}')
        if not 0 < t < 1:
            raise ValueError(f't must lie in (0, 1), got {t}')
        self.a0 = a0
        self.t = t

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Sharpen the teacher's maps.

        Args:
            pseudo_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
            weight (Tensor): ``(N, 1, h, w)``, left as it is.
            teacher_samples (list[DetDataSample]): Films in the teacher's view; where they have
                ``gt_prob_map``, the maximum is taken over the cells that count.
            student_samples (list[DetDataSample]): Not used.

        Returns:
            tuple[Tensor, Tensor]: Sharpened maps and ``weight``.
        """
        strength = asymmetric_strength(image_scores(pseudo_map, teacher_samples), self.a0)
        return asymmetric_sharpen(pseudo_map, strength.view(-1, 1, 1, 1), self.t), weight

    def extra_repr(self) -> str:
        """``a0`` and ``t``."""
        return f'a0={self.a0}, t={self.t}'
