# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmfrac.models.postprocess import cells_of_images
from mmfrac.models.pseudo_labels.adaptive_threshold import decay_of


@MODELS.register_module()
class SoftMatchWeight(nn.Module):
    r"""Pseudo-label step with the weights of SoftMatch (Chen et al., ICLR 2023).

    .. math:: w(s) = \exp(-(s - \mu)^2 / (2 \sigma^2)) \text{ if } s < \mu, \text{ else } 1

    ``s`` is the confidence of a cell, max(y, 1 - y); its mean and variance over the images' cells are
    followed by moving averages (arXiv 2301.10921, its truncated Gaussian). Its uniform alignment is left
    out. The weights multiply those of earlier steps. It belongs before a sharpening, which makes all
    confident.

    Args:
        decay (float): Weight of the old value in the averages. Defaults to 0.999.
        width (float): Factor of sigma; the authors' code has 0.5 (``n_sigma=2``). Defaults to 1.
        momentum (float, optional): Former name of ``decay``. Defaults to None.

    Raises:
        ValueError: When an option is out of range.
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(
        self, decay: float = 0.999, width: float = 1.0, momentum: float | None = None
    ) -> None:
        super().__init__()
        decay = decay_of(self, decay, momentum)
        if not width > 0:
            raise ValueError(f'width must be positive, got {width}')
        self.decay = decay
        self.width = width
        # those of the first batch: with two classes theirs, 1 / classes and 1, would never be left
        self.register_buffer('mean', torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer('variance', torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer('steps', torch.tensor(0, dtype=torch.int64))

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Maps ``(N, 1, h, w)`` in [0, 1] as they are, and their cells' weights."""
        confidence = torch.maximum(pseudo_map, 1 - pseudo_map)
        if self.training:
            self._follow(confidence, cells_of_images(pseudo_map, teacher_samples))
        below = (confidence - self.mean.to(confidence)).clamp(max=0)
        spread = (self.width * self.width * self.variance).to(confidence).clamp(min=1e-12)
        return pseudo_map, weight * torch.exp(-below * below / (2 * spread))

    def forget(self) -> None:
        """Begin with the next batch, whatever averages another training had."""
        for value in (self.mean, self.variance, self.steps):
            value.zero_()

    def _follow(self, confidence: Tensor, valid: Tensor) -> None:
        values = confidence.double() * valid
        sums = torch.stack([valid.sum().double(), values.sum(), (values * values).sum()])
        all_reduce(sums, op='sum')
        mean = sums[1] / sums[0].clamp(min=1)
        variance = (sums[2] / sums[0].clamp(min=1) - mean * mean).clamp(min=0)
        # the first batch counts in full
        share = torch.where(self.steps == 0, 1.0, 1 - self.decay).to(mean)
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)
        self.steps.add_(1)

    def extra_repr(self) -> str:
        """The options."""
        return f'decay={self.decay}, width={self.width}'
