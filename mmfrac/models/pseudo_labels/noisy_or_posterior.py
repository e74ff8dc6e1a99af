# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmfrac.models.losses.alpha_r import AlphaR
from mmfrac.models.postprocess import cells_of_images
from mmfrac.models.pseudo_labels.sharpening import is_positive
from mmfrac.utils.device import to_device

# how far a batch moves what is matched, and the largest logarithm of a divisor
_RATE, _FARTHEST = 0.1, 5.0

# how far equal cells are followed from one to the next
_WINDOWS_OF_A_PLATEAU = 4


def noisy_or(y: Tensor, window: int = 5) -> Tensor:
    r"""Probability that an image has a lesion at all, if its peaks are independent of each other.

    .. math:: P = 1 - \prod_{i \in \text{peaks}} (1 - y_i)

    A peak is a cell that none in a window around it exceeds. Equal ones beside each other count once, as
    bf16 makes many equal.

    Args:
        y (Tensor): ``(N, 1, h, w)`` in [0, 1], 0 where the image is not.
        window (int): Side of the window, cells, odd. Defaults to 5.

    Returns:
        Tensor: ``(N,)`` in [0, 1], at least the maximum of each map.
    """
    is_peak = _peaks(y, window)
    # in float32: the product of many factors next to 1
    log_none = torch.log1p(-y.float().clamp(max=1 - 1e-6)).masked_fill(~is_peak, 0)
    return torch.maximum(-torch.expm1(log_none.flatten(1).sum(1)), y.flatten(1).amax(1).float())


def _peaks(y: Tensor, window: int) -> Tensor:
    """One cell of each peak, bool, also where rounding makes cells of a slope equal."""

    def largest_around(values: Tensor) -> Tensor:
        return F.max_pool2d(values, window, stride=1, padding=window // 2)

    is_peak = y == largest_around(y)
    for _ in range(_WINDOWS_OF_A_PLATEAU):
        # beside an equal cell that is none
        is_peak = is_peak & (largest_around(y.masked_fill(is_peak, -1)) < y)
    places = torch.arange(y[0].numel(), 0, -1, device=y.device, dtype=torch.float32)
    places = places.view(y[0].shape).where(is_peak, 0)
    firsts = places
    for _ in range(_WINDOWS_OF_A_PLATEAU):
        firsts = largest_around(firsts).where(is_peak, 0)
    return is_peak & (firsts == places)


@MODELS.register_module()
class NoisyOrPosterior(nn.Module):
    r"""Pseudo-label step that uses the label: what is known of each cell once the image is positive.

    Not in the paper. The teacher's map says how probable a lesion is in an image of which nothing is
    known. Of an image of P_pub it is known that it has one, so each probability is divided by that of
    one anywhere (``noisy_or``), as the E step of a noisy-or model does:

    .. math:: y'_i = y_i / P

    A map with a certain peak stays as it is, one without grows until its peaks explain the label.

    L_sup with the weight ``alpha_r`` of fracture cells is least where the odds are ``alpha_r`` times
    those of a lesion. With ``alpha_r`` the odds of the teacher are divided by it before that, and what
    comes out is target and weight of the expected L_sup under the posterior ``q`` (the M step):

    .. math:: w_i = \alpha_r q_i + 1 - q_i, \quad y'_i = \alpha_r q_i / w_i

    so that ``w_i`` times the cross-entropy of ``y'_i`` is
    ``-alpha_r q_i log p_i - (1 - q_i) log(1 - p_i)``.

    Args:
        window (int): See ``noisy_or``, cells; of a finer map it is larger, or its background has more
            peaks. Defaults to 5, for maps of 80 x 80.
        alpha_r (float | str): Weight of fracture cells; 1: target and weight are ``q_i`` and 1. Defaults
            to ``'auto'``, that of L_sup.
        teacher_alpha_r (float | str, optional): What the teacher's odds are divided by. A teacher that
            does not learn from the targets and never saw the images is rather too unsure of them: 1 or
            less is better for it. ``'match'``: that for which a positive image has, under the posterior,
            as many fracture cells in the mean as the images with boxes have, found during training.
            Defaults to None, ``alpha_r``, without which a teacher that follows the student would grow
            ever surer.

    Raises:
        ValueError: When the window is not odd and positive, or an ``alpha_r`` neither positive nor
            one of the words.

    Attributes:
        weighs_fracture_cells (bool): Whether ``alpha_r`` is another than 1, once the model is built: a
            loss that weighs them, too, would count them twice.
        needs_boxes (bool): Whether it measures something on images with boxes: ``'match'``.
    """

    log_divisor: Tensor
    log_cells: Tensor
    noted: Tensor

    def __init__(
        self,
        window: int = 5,
        alpha_r: float | str = 'auto',
        teacher_alpha_r: float | str | None = None,
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f'window must be odd and positive, got {window}')
        self.window = window
        name = type(self).__name__
        self.alpha_r = AlphaR(alpha_r, name)
        self.matches = teacher_alpha_r == 'match'
        if self.matches:
            self.register_buffer('log_divisor', torch.zeros(()))
            self.register_buffer('log_cells', torch.tensor(float('nan')))
            # fracture cells and images with boxes since the last pseudo maps
            self.register_buffer('noted', torch.zeros(2))
        elif teacher_alpha_r is None:
            self.teacher_alpha_r = self.alpha_r
        else:
            self.teacher_alpha_r = AlphaR(teacher_alpha_r, f'{name}, teacher')

    def attach(self, student: Any) -> None:
        """Learn the ``alpha_r`` of L_sup of a ``ProbMapDetector``."""
        self.alpha_r.attach(student)
        if not self.matches:
            self.teacher_alpha_r.attach(student)

    @property
    def needs_boxes(self) -> bool:
        """See the class."""
        return self.matches

    @property
    def weighs_fracture_cells(self) -> bool:
        """See the class."""
        return self.alpha_r() != 1

    def note_targets(self, targets: dict[str, Tensor]) -> None:
        """Learn how many fracture cells an image with boxes has.

        Args:
            targets (dict[str, Tensor]): Of L_sup: ``target`` ``(N, 1, h, w)`` in [0, 1], ``valid`` and
                ``labels``.
        """
        if not self.matches:
            return
        valid = targets['valid']
        target = targets['target'].float().masked_fill(~valid, 0).flatten(1)
        has_boxes = (targets['labels'] == 1) & valid.flatten(1).any(1)
        cells = target.sum(1).masked_fill(~has_boxes, 0).sum()
        self.noted.add_(torch.stack([cells, has_boxes.sum().to(cells)]))

    def forget(self) -> None:
        """Begin with the divisor 1 and no count, whatever another training found."""
        if self.matches:
            self.log_divisor.zero_()
            self.log_cells.fill_(float('nan'))
            self.noted.zero_()

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Maps ``(N, 1, h, w)`` in [0, 1] in the teacher's view; padding has no peaks."""
        alpha_r = self.alpha_r()
        divisor = self.log_divisor.exp() if self.matches else self.teacher_alpha_r()
        y = pseudo_map / (divisor + (1 - divisor) * pseudo_map)
        own = y.masked_fill(~cells_of_images(y, teacher_samples), 0)
        known = to_device(
            torch.tensor([is_positive(sample) for sample in teacher_samples]), pseudo_map.device
        )
        total = noisy_or(own, self.window).to(y)
        # a map of zeros stays as it is, and so does that of an image whose label is not known
        total = total.masked_fill(~known | (total <= 0), 1)
        posterior = (y / total.view(-1, 1, 1, 1)).clamp(max=1)
        if self.matches and self.training:
            self._follow(posterior, known)
        own_weight = 1 + (alpha_r - 1) * posterior
        return alpha_r * posterior / own_weight, weight * own_weight

    def _follow(self, posterior: Tensor, known: Tensor) -> None:
        """Move the divisor by a step: up where it finds more cells than images with boxes have.

        All ranks count alike, whichever has the images.
        """
        found = posterior.float().flatten(1).sum(1).masked_fill(~known, 0).sum()
        sums = torch.stack([*self.noted, found, known.sum().to(found)])
        all_reduce(sums, op='sum')
        self.noted.zero_()
        wanted, found = (sums[0] / sums[1]).log(), (sums[2] / sums[3]).log()
        before = torch.where(self.log_cells.isnan(), wanted, self.log_cells)
        after = before + _RATE * (wanted - before).clamp(-1, 1)
        self.log_cells.copy_(torch.where(sums[0] > 0, after, self.log_cells))
        excess = (found - self.log_cells).clamp(-1, 1)
        moved = (self.log_divisor + _RATE * excess).clamp(-_FARTHEST, _FARTHEST)
        self.log_divisor.copy_(torch.where(excess.isnan(), self.log_divisor, moved))

    def extra_repr(self) -> str:
        """The options."""
        teacher = 'match' if self.matches else self.teacher_alpha_r
        return f'window={self.window}, alpha_r={self.alpha_r}, teacher_alpha_r={teacher}'
