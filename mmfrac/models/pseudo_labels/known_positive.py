# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.postprocess import image_scores
from mmfrac.models.pseudo_labels.sharpening import is_positive
from mmfrac.utils.device import to_device


def lift_maximum(y: Tensor, scores: Tensor, floor: float) -> Tensor:
    r"""Scale maps whose maximum is below a floor, so that it reaches the floor.

    .. math:: y' = y \cdot \max(1, f / \max_i y_i)

    Args:
        y (Tensor): ``(N, 1, h, w)`` in [0, 1].
        scores (Tensor): ``(N,)`` maxima of the maps; a map of zeros stays as it is.
        floor (float): ``f``, in (0, 1].

    Returns:
        Tensor: ``(N, 1, h, w)`` in [0, 1].
    """
    factor = torch.where(scores > 0, floor / scores.clamp(min=1e-30), 1).clamp(min=1)
    return (y * factor.view(-1, 1, 1, 1)).clamp(max=1)


@MODELS.register_module()
class KnownPositive(nn.Module):
    """Pseudo-label step that uses the label: every film of P_pub has at least one fracture.

    Not in the paper. Where the teacher is too unsure to leave a peak after sharpening, the highest one
    is brought up to a floor, so that the pseudo map of a positive film never is all zero.

    Args:
        floor (float): Maximum that every pseudo map has at least, in (0, 1]. Defaults to 0.5.

    Raises:
        ValueError: When it is out of range.
    """

    def __init__(self, floor: float = 0.5) -> None:
        super().__init__()
        if not 0 < floor <= 1:
            raise ValueError(f'floor must lie in (0, 1], got {floor}')
        self.floor = floor

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Lift maps ``(N, 1, h, w)`` in [0, 1] in the teacher's view; padding gives no maximum."""
        scores = image_scores(pseudo_map, teacher_samples)
        known = to_device(
            torch.tensor([is_positive(sample) for sample in teacher_samples]), scores.device
        )
        # a map of zeros stays as it is, and so does that of an image whose label is not known
        scores = scores.masked_fill(~known, 0)
        return lift_maximum(pseudo_map, scores, self.floor), weight

    def extra_repr(self) -> str:
        """The floor."""
        return f'floor={self.floor}'
