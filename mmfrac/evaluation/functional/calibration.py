# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How far image scores are probabilities, and the temperature that brings them nearer.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from mmfrac.evaluation.definitions import check_option
from mmfrac.utils.prob_map import apply_temperature as apply_temperature
from mmfrac.utils.prob_map import logits_of_scores, width_bins

_LARGEST_TEMPERATURE = 1e3


@dataclass(frozen=True, eq=False)
class Reliability:
    """Reliability diagram of image scores; bins without an image are left out.

    Attributes:
        confidence (np.ndarray): (b,) mean score of each bin.
        frequency (np.ndarray): (b,) share of its images with label 1.
        counts (np.ndarray): (b,) images.
        ece (float): Expected calibration error: mean of |frequency - confidence| over the images.
        brier (float): Mean of (score - label) squared.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    counts: np.ndarray
    ece: float
    brier: float


def reliability(
    labels: ArrayLike, scores: ArrayLike, num_bins: int = 10, bins: str = 'width'
) -> Reliability:
    """Reliability diagram and expected calibration error.

    Args:
        labels (ArrayLike): (n,) 1, 0, or -1 for images to leave out.
        scores (ArrayLike): (n,) image scores in [0, 1].
        num_bins (int): Defaults to 10.
        bins (str): Of equal 'width', (k / b, (k + 1) / b], or of equal 'count'; images of one score
            stay together. Defaults to 'width'.

    Returns:
        Reliability: Errors are NaN without an image.

    Raises:
        ValueError: If an option or a score is out of range.
    """
    truth, values = _known(labels, scores)
    if num_bins < 1:
        raise ValueError(f'num_bins must be positive, got {num_bins}')
    check_option('calibration_kind', bins)
    if not values.size:
        empty = np.zeros(0)
        return Reliability(empty, empty, empty, float('nan'), float('nan'))
    if bins == 'width':
        bin_indices = width_bins(values, num_bins)
    else:
        edges = np.quantile(values, np.arange(1, num_bins) / num_bins, method='inverted_cdf')
        bin_indices = np.searchsorted(edges, values, side='left')
    counts = np.bincount(bin_indices, minlength=num_bins)
    filled = counts > 0
    confidence = np.bincount(bin_indices, values, num_bins)[filled] / counts[filled]
    frequency = np.bincount(bin_indices, truth, num_bins)[filled] / counts[filled]
    counts = counts[filled]
    ece = float(counts @ np.abs(frequency - confidence) / values.size)
    return Reliability(confidence, frequency, counts, ece, float(np.mean((values - truth) ** 2)))


def fit_temperature(labels: ArrayLike, scores: ArrayLike) -> float:
    """Temperature that makes the scores of e.g. validation images most likely.

    Minimises the log loss of sigmoid(logit(score) / T), which is convex in 1 / T.

    Args:
        labels (ArrayLike): (n,) 1, 0 or -1.
        scores (ArrayLike): (n,) image scores in [0, 1].

    Returns:
        float: T in [0.001, 1000]; an end where the best is beyond it (scores that separate the classes,
        or rank them the wrong way round).

    Raises:
        ValueError: If a score is out of range, or a class is missing.
    """
    truth, values = _known(labels, scores)
    if not 0 < truth.sum() < truth.size:
        raise ValueError('a temperature needs films with label 1 and with label 0')
    logits = logits_of_scores(values)

    def slope(log_inverse: float) -> float:
        return float(np.mean((expit(math.exp(log_inverse) * logits) - truth) * logits))

    limit = math.log(_LARGEST_TEMPERATURE)
    if slope(-limit) >= 0:
        return _LARGEST_TEMPERATURE
    if slope(limit) <= 0:
        return 1 / _LARGEST_TEMPERATURE
    return math.exp(-brentq(slope, -limit, limit, xtol=1e-10))


def _known(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f'labels and scores must be (n,) alike, got shapes {truth.shape} and {values.shape}'
        )
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValueError(
            f'score {int(np.argmax(outside))} is {values[outside][0]}: calibration needs scores in '
            '[0, 1]'
        )
    known = truth != -1
    return truth[known].astype(np.float64), values[known]
