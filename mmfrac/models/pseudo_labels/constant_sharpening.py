# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.pseudo_labels.sharpening import dynamic_sharpen


@MODELS.register_module()
class ConstantSharpening(nn.Module):
    """Pseudo-label step that sharpens with a fixed centre and strength (paper, Table 2).

    Args:
        a (float): Sharpening strength, >= 1. Table 2 has 4 and 6.
        t (float): Sharpening centre, in (0, 1). Table 2 has 0.2, 0.3 and 0.4.

    Raises:
        ValueError: When ``a`` or ``t`` is out of range.
    """

    def __init__(self, a: float, t: float) -> None:
        super().__init__()
        if not a >= 1:
            raise ValueError(f'a must be at least 1, got {a}')
        if not 0 < t < 1:
            raise ValueError(f't must lie in (0, 1), got {t}')
        self.a = a
        self.t = t

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Sharpen maps ``(N, 1, h, w)`` in [0, 1]; weight and samples are not used."""
        return dynamic_sharpen(pseudo_map, self.t, self.a), weight

    def extra_repr(self) -> str:
        """``a`` and ``t``."""
        return f'a={self.a}, t={self.t}'
