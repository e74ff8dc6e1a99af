# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""AUROC, its weighted form for replicates, and DeLong's interval and paired test."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties one half.

    Args:
        labels (ArrayLike): (n,) image-level labels: 1, 0, or -1 for images to leave out.
        scores (ArrayLike): (n,) image scores.

    Returns:
        float: The area. NaN, with a warning, if only one class is present.

    Raises:
        ValueError: If the shapes differ, a label is unknown or a score is not finite.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f'labels and scores must be (n,) alike, got shapes {truth.shape} and {values.shape}'
        )
    if not np.isin(truth, (-1, 0, 1)).all():
        raise ValueError(f'labels must be 1, 0 or -1, got {np.unique(truth).tolist()}')
    wrong = ~np.isfinite(values)
    if wrong.any():
        what = 'NaN' if np.isnan(values[wrong][0]) else 'infinite'
        raise ValueError(f'score {int(np.argmax(wrong))} is {what}')
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
    # a second of import that nothing else here needs
    from sklearn.metrics import roc_auc_score

    area = float(roc_auc_score(positive, values[known]))
    # a whole number of half pairs: equal counts give equal areas, however they are summed up
    num_pairs = 2 * num_positive * num_negative
    return round(area * num_pairs) / num_pairs


def weighted_areas(
    images: np.ndarray,
    is_positive: np.ndarray,
    shares: np.ndarray,
    scores: np.ndarray,
    replicates: np.ndarray,
) -> np.ndarray:
    """P(score of a positive > score of a negative), ties one half, under many weightings of the images.

    Args:
        images (np.ndarray): (m,) image of each rated thing.
        is_positive (np.ndarray): (m,) whether it is a positive.
        shares (np.ndarray): (m,) its weight within its image.
        scores (np.ndarray): (m,) its score.
        replicates (np.ndarray): (r, n) weight of each image in each replicate.

    Returns:
        np.ndarray: (r,) float64; NaN where a replicate has no positive or no negative.
    """
    order = np.argsort(scores, kind='stable')
    values = scores[order]
    ends_group = np.append(values[:-1] != values[1:], True)[: values.size]
    return _weighted_areas(
        images[order], is_positive[order], shares[order], ends_group, np.asarray(replicates)
    )


@njit(cache=True)
def _weighted_areas(images, is_positive, shares, ends_group, replicates):
    areas = np.full(len(replicates), np.nan)
    for r in range(len(replicates)):
        num_positive = num_negative = below = 0.0
        positives = negatives = 0.0  # of the group of equal scores
        pairs = 0.0
        for k in range(len(images)):
            weight = replicates[r, images[k]] * shares[k]
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


class AurocCovariance(NamedTuple):
    """AUROC of several models on the same images.

    Attributes:
        aurocs (np.ndarray): (k,) areas, ties one half.
        covariance (np.ndarray): (k, k) their covariance.
    """

    aurocs: np.ndarray
    covariance: np.ndarray


class PairedTest(NamedTuple):
    """Difference of two models on the same images.

    Attributes:
        difference (float): First minus second.
        low (float): Lower end of its interval.
        high (float): Upper end.
        p_value (float): Two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def delong(
    labels: ArrayLike, scores: ArrayLike, patients: Sequence | None = None
) -> AurocCovariance:
    """AUROCs of models on the same images, and their covariance.

    Args:
        labels (ArrayLike): (n,) 1, 0, or -1 for images to leave out.
        scores (ArrayLike): (k, n) image scores of each model, or (n,) of one.
        patients (Sequence, optional): (n,) patient of each image. Defaults to None, each image its own.

    Returns:
        AurocCovariance: NaN where a class is missing; the covariance also where a class comes from one
        patient only.

    Raises:
        ValueError: If the shapes differ, a label is unknown or a score is NaN.
    """
    truth, values = np.asarray(labels), np.atleast_2d(np.asarray(scores, np.float64))
    if truth.ndim != 1 or values.ndim != 2 or values.shape[1] != truth.size:
        raise ValueError(f'labels {truth.shape} and scores {values.shape} must be (n,) and (k, n)')
    if not np.isin(truth, (-1, 0, 1)).all():
        raise ValueError(f'labels must be 1, 0 or -1, got {np.unique(truth).tolist()}')
    if np.isnan(values).any():
        raise ValueError('a score is NaN')
    if patients is not None and len(patients) != truth.size:
        raise ValueError(f'{len(patients)} patients for {truth.size} films')
    names = np.arange(truth.size) if patients is None else np.asarray(patients)
    known = truth != -1
    values, is_positive = values[:, known], truth[known] == 1
    clusters = np.unique(names[known], return_inverse=True)[1].ravel()
    num_positive, num_negative = int(is_positive.sum()), int((~is_positive).sum())
    num_models = len(values)
    if not num_positive or not num_negative:
        return AurocCovariance(np.full(num_models, np.nan), np.full((num_models,) * 2, np.nan))

    # Share of the other class that each image is ranked rightly against.
    ranks = rankdata(values, axis=1)
    of_positives = ranks[:, is_positive] - rankdata(values[:, is_positive], axis=1)
    of_negatives = ranks[:, ~is_positive] - rankdata(values[:, ~is_positive], axis=1)
    of_positives, of_negatives = of_positives / num_negative, 1 - of_negatives / num_positive
    aurocs = of_positives.mean(axis=1)

    first, num_first = _by_patient(of_positives - aurocs[:, None], clusters[is_positive], clusters)
    second, num_second = _by_patient(
        of_negatives - aurocs[:, None], clusters[~is_positive], clusters
    )
    num_patients = first.shape[1]
    with np.errstate(divide='ignore', invalid='ignore'):
        covariance = (
            _scaled(first @ first.T, num_first) / num_positive**2
            + _scaled(second @ second.T, num_second) / num_negative**2
            + _scaled(first @ second.T + second @ first.T, num_patients)
            / (num_positive * num_negative)
        )
    return AurocCovariance(aurocs, covariance)


def delong_interval(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.95, patients: Sequence | None = None
) -> tuple[float, float]:
    """Interval of one AUROC, on the logit scale, so that it stays within (0, 1).

    Args:
        labels (ArrayLike): (n,) 1, 0 or -1.
        scores (ArrayLike): (n,) image scores.
        level (float): Nominal coverage. Defaults to 0.95.
        patients (Sequence, optional): (n,) patients. Defaults to None.

    Returns:
        tuple[float, float]: Lower and upper end; both the area itself where it is 0 or 1.
    """
    aurocs, covariance = delong(labels, scores, patients)
    auroc, deviation = float(aurocs[0]), _deviation(float(covariance[0, 0]))
    if not 0 < auroc < 1:
        return auroc, auroc
    centre, half = math.log(auroc / (1 - auroc)), deviation / (auroc * (1 - auroc))
    half *= float(norm.ppf((1 + level) / 2))
    return 1 / (1 + math.exp(half - centre)), 1 / (1 + math.exp(-half - centre))


def delong_test(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    level: float = 0.95,
    patients: Sequence | None = None,
) -> PairedTest:
    """Whether two models differ in AUROC on the same images.

    Args:
        labels (ArrayLike): (n,) 1, 0 or -1.
        first (ArrayLike): (n,) image scores of one model.
        second (ArrayLike): (n,) image scores of the other.
        level (float): Nominal coverage of the interval. Defaults to 0.95.
        patients (Sequence, optional): (n,) patients. Defaults to None.

    Returns:
        PairedTest: p is 1 for models that rank all pairs alike.
    """
    aurocs, covariance = delong(labels, np.stack([np.asarray(first), np.asarray(second)]), patients)
    contrast = np.array([1.0, -1.0])
    difference = float(contrast @ aurocs)
    variance = float(contrast @ covariance @ contrast)
    deviation = _deviation(variance)
    if difference == 0 and deviation < 1e-9:
        return PairedTest(0.0, 0.0, 0.0, 1.0)
    half = float(norm.ppf((1 + level) / 2)) * deviation
    with np.errstate(divide='ignore'):
        p_value = float(2 * norm.sf(abs(np.float64(difference) / deviation)))
    return PairedTest(difference, difference - half, difference + half, p_value)


def _by_patient(
    values: np.ndarray, of_images: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, int]:
    """Sums (k, patients) of (k, images), and the number of patients that have such an image."""
    size = int(clusters.max()) + 1
    sums = np.stack([np.bincount(of_images, row, minlength=size) for row in values])
    return sums, int(np.unique(of_images).size)


def _scaled(products: np.ndarray, num_patients: int) -> np.ndarray:
    return products * (np.float64(num_patients) / (num_patients - 1))


def _deviation(variance: float) -> float:
    """Root; a variance of zero may be rounded to either sign."""
    return math.sqrt(max(variance, 0.0)) if variance == variance else math.nan
