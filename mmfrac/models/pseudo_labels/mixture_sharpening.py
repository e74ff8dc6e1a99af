# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

from mmdet.registry import MODELS

from mmfrac.models.pseudo_labels.score_mixture import mixture_threshold
from mmfrac.models.pseudo_labels.sharpening import DynamicSharpening, sharpening_strength


@MODELS.register_module()
class MixtureSharpening(DynamicSharpening):
    """``DynamicSharpening`` whose centre is read off a mixture of the scores (Consistent-Teacher).

    After each epoch a mixture of two Gaussians is fitted to the image scores of P_pub; *t* is the score
    at which the posterior of the upper one is 0.5 (Wang et al., CVPR 2023, arXiv 2209.01589, take the
    score where the density of the upper mode is greatest, of boxes in place of images), within
    ``bounds``. *m* stays the median, and *a* follows from *t* as in the paper. Where the scores show no
    two components, *t* is that of *m*.

    Args:
        bounds (tuple[float, float]): Lowest and highest *t*. Defaults to (0.1, 0.9).
        low (float, optional): As in ``DynamicSharpening``. Defaults to None.

    Raises:
        ValueError: When the bounds are not in (0, 1) and in order.
    """

    def __init__(self, bounds: tuple[float, float] = (0.1, 0.9), low: float | None = None) -> None:
        super().__init__(low=low)
        if not 0 < bounds[0] < bounds[1] < 1:
            raise ValueError(f'bounds must be two values of (0, 1) in order, got {bounds}')
        if low is not None and not low < bounds[0]:
            raise ValueError(f'low must be below every t, so below {bounds[0]}, got {low}')
        self.bounds = bounds

    def update(self, scores: Sequence[float]) -> None:
        """Put ``m``, and ``t``, ``a`` of the mixture, in force."""
        super().update(scores)
        threshold = mixture_threshold(scores)
        if threshold is None:
            return
        t = min(self.bounds[1], max(self.bounds[0], threshold))
        self.t.fill_(t)
        self.a.fill_(sharpening_strength(t))
