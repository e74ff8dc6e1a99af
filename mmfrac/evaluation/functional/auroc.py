# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import warnings

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.stats import rankdata


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties one half.

    Args:
        labels (ArrayLike): (n,) image-level labels: 1, 0, or -1 for films to leave out.
        scores (ArrayLike): (n,) image scores.

    Returns:
        float: The area. NaN, with a warning, if only one class is present.

    Raises:
        ValueError: If the shapes differ, a label is unknown or a score is NaN.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f'labels and scores must be (n,) alike, got shapes {truth.shape} and {values.shape}'
        )
    if not np.isin(truth, (-1, 0, 1)).all():
        raise ValueError(f'labels must be 1, 0 or -1, got {np.unique(truth).tolist()}')
    if np.isnan(values).any():
        raise ValueError(f'score {int(np.argmax(np.isnan(values)))} is NaN')
    known = truth != -1
    positive = truth[known] == 1
    num_positive = int(positive.sum())
    num_negative = positive.size - num_positive
    if not num_positive or not num_negative:
        warnings.warn(
            f'AUROC is NaN: it needs both classes, got {num_positive} films with label 1 and '
            f'{num_negative} with label 0',
            stacklevel=2,
        )
        return float('nan')
    rank_sum = rankdata(values[known])[positive].sum()
    return float((rank_sum / num_positive - (num_positive + 1) / 2) / num_negative)


def weighted_areas(
    films: np.ndarray,
    is_positive: np.ndarray,
    shares: np.ndarray,
    scores: np.ndarray,
    replicates: np.ndarray,
) -> np.ndarray:
    """P(score of a positive > score of a negative), ties one half, under many weightings of the films.

    Args:
        films (np.ndarray): (m,) film of each rated thing.
        is_positive (np.ndarray): (m,) whether it is a positive.
        shares (np.ndarray): (m,) its weight within its film.
        scores (np.ndarray): (m,) its score.
        replicates (np.ndarray): (r, n) weight of each film in each replicate.

    Returns:
        np.ndarray: (r,) float64; NaN where a replicate has no positive or no negative.
    """
    order = np.argsort(scores, kind='stable')
    values = scores[order]
    ends_group = np.append(values[:-1] != values[1:], True)[: values.size]
    return _weighted_areas(
        films[order], is_positive[order], shares[order], ends_group, np.asarray(replicates)
    )


@njit(cache=True)
def _weighted_areas(films, is_positive, shares, ends_group, replicates):
    areas = np.full(len(replicates), np.nan)
    for r in range(len(replicates)):
        num_positive = num_negative = below = 0.0
        positives = negatives = 0.0  # of the group of equal scores
        pairs = 0.0
        for k in range(len(films)):
            weight = replicates[r, films[k]] * shares[k]
            if is_positive[k]:
                positives += weight
            else:
                negatives += weight
            if ends_group[k]:
                pairs += positives * (below + negatives / 2)
                below += negatives
                num_positive += positives
                num_negative += negatives
                positives = negatives = 0.0
        if num_positive > 0 and num_negative > 0:
            areas[r] = pairs / num_positive / num_negative
    return areas
