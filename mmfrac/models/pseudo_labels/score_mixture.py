# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Thresholds read off a mixture of two Gaussians, the sure and the unsure scores of a teacher."""

from collections.abc import Sequence

import numpy as np
from sklearn.mixture import GaussianMixture

FEWEST = 8  # scores that a mixture is fitted to


def mixture_threshold(scores: Sequence[float]) -> float | None:
    """Score from which on the upper of two Gaussian components is the likelier one.

    Args:
        scores (Sequence[float]): In [0, 1].

    Returns:
        float | None: Between the two means; None where there are fewer than ``FEWEST`` scores, or two
        components cannot be told apart.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    fitted = _fit(values, FEWEST)
    if fitted is None:
        return None
    mixture, low, high = fitted
    line = np.linspace(mixture.means_[low, 0], mixture.means_[high, 0], 2001)
    upper = mixture.predict_proba(line.reshape(-1, 1))[:, high] >= 0.5
    return float(line[upper.argmax()]) if upper.any() else None


def mode_threshold(scores: Sequence[float], fewest: int = FEWEST) -> float | None:
    """Score of the upper of two Gaussian components at which the density is greatest.

    Consistent-Teacher (Wang et al., CVPR 2023, arXiv 2209.01589) keeps the pseudo boxes
    above it. As in its code the density is that of the whole mixture, and the answer is one of the
    scores; unlike there EM starts from k-means, as a start from two variances of 1 ends before the
    components part.

    Args:
        scores (Sequence[float]): In [0, 1].
        fewest (int): Scores that a mixture is fitted to. Defaults to ``FEWEST``.

    Returns:
        float | None: None where there are fewer than ``fewest`` scores, or two components cannot be told
        apart.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    fitted = _fit(values, fewest)
    if fitted is None:
        return None
    mixture, _, high = fitted
    upper = values[mixture.predict(values.reshape(-1, 1)) == high]
    if not len(upper):
        return None
    return float(upper[mixture.score_samples(upper.reshape(-1, 1)).argmax()])


def _fit(values: np.ndarray, fewest: int) -> tuple[GaussianMixture, int, int] | None:
    """The mixture of sorted values with its lower and its upper component."""
    if len(values) < max(2, fewest) or np.ptp(values) < 1e-6:
        return None
    # from the same start on every rank
    mixture = GaussianMixture(2, reg_covar=1e-6, random_state=0).fit(values.reshape(-1, 1))
    low, high = np.argsort(mixture.means_[:, 0])
    return mixture, int(low), int(high)
