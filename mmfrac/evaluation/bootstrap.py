# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Patient-clustered bootstrap of AUROC and FROC on exact records; arrays in, arrays out.

A replicate draws as many patients as there are, with replacement, and takes all their films as often as
they were drawn. Two models on the same films are compared under the same draws.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from .froc import FilmRecord, check_fppi, check_option, count_changes


def patient_weights(patients: Sequence, num_replicates: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each replicate takes each film.

    Args:
        patients (Sequence): (n,) patient of each film; any sortable values.
        num_replicates (int): Defaults to 2000.
        seed (int): The same seed gives the same draws. Defaults to 0.

    Returns:
        np.ndarray: (num_replicates, n) int64.

    Raises:
        ValueError: If there is no film or no replicate.
    """
    if not len(patients) or num_replicates < 1:
        raise ValueError(
            f'a bootstrap needs films and replicates, got {len(patients)} and {num_replicates}'
        )
    names, patient_of_film = np.unique(np.asarray(patients), return_inverse=True)
    draws = np.random.default_rng(seed).integers(len(names), size=(num_replicates, len(names)))
    draws += np.arange(num_replicates)[:, None] * len(names)
    counts = np.bincount(draws.ravel(), minlength=draws.size)
    return counts.reshape(draws.shape)[:, patient_of_film.ravel()]


def bootstrap_recalls(
    records: Sequence[FilmRecord],
    weights: np.ndarray,
    fppi: Sequence[float],
    denominator: str = 'all',
    crossing: str = 'first',
    interpolation: str = 'linear',
) -> np.ndarray:
    """``recall_at`` of every replicate; the options are those of :func:`froc.recall_at`.

    Args:
        records (Sequence[FilmRecord]): (n,) one a film.
        weights (np.ndarray): (r, n) how often each replicate takes each film.
        fppi (Sequence[float]): (k,) false positives per image.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.
        crossing (str): Defaults to 'first'.
        interpolation (str): Defaults to 'linear'.

    Returns:
        np.ndarray: (r, k) float64; NaN where a replicate has no lesion, or no film to count false
        positives on.

    Raises:
        ValueError: If an option is unknown or the shapes differ.
    """
    for name, value in zip(
        ('denominator', 'crossing', 'interpolation'), (denominator, crossing, interpolation)
    ):
        check_option(name, value)
    targets = check_fppi(fppi, many=True)
    takes = _check_weights(weights, len(records))
    num_lesions = np.array([record.lesion_scores.size for record in records])
    counts = np.ones(len(records), np.bool_) if denominator == 'all' else num_lesions == 0

    parts: list[list[np.ndarray]] = [[], [], [], []]
    thresholds, films, changes, hits = parts
    for film, record in enumerate(records):
        scores = record.lesion_scores[record.lesion_scores > 0]
        steps = count_changes(record) if counts[film] else np.zeros(0, np.int64)
        thresholds += [record.thresholds[: steps.size], scores]
        films.append(np.full(steps.size + scores.size, film))
        changes += [steps, np.zeros(scores.size, np.int64)]
        hits += [np.zeros(steps.size, np.int64), np.ones(scores.size, np.int64)]
    values = np.concatenate([part.astype(np.float64) for part in thresholds])
    order = np.argsort(-values, kind='stable')
    values = values[order]
    ends_group = np.append(values[:-1] != values[1:], True)[: values.size]
    return _recalls(
        np.concatenate(films)[order],
        np.concatenate(changes)[order],
        np.concatenate(hits)[order],
        ends_group,
        takes,
        takes @ counts,
        takes @ num_lesions,
        targets,
        crossing == 'first',
        interpolation == 'linear',
    )


def bootstrap_auroc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """AUROC of every replicate, ties one half.

    Args:
        labels (ArrayLike): (n,) 1, 0, or -1 for films to leave out.
        scores (ArrayLike): (n,) image scores.
        weights (np.ndarray): (r, n) how often each replicate takes each film.

    Returns:
        np.ndarray: (r,) float64; NaN where a replicate has one class only.

    Raises:
        ValueError: If the shapes differ.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    takes = _check_weights(weights, truth.size)
    if truth.shape != values.shape:
        raise ValueError(f'labels and scores differ: {truth.shape} and {values.shape}')
    known = np.flatnonzero(truth != -1)
    order = known[np.argsort(values[known], kind='stable')]
    values = values[order]
    ends_group = np.append(values[:-1] != values[1:], True)[: values.size]
    return _aurocs(order, truth[order] == 1, ends_group, takes)


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a bootstrapped value or difference.

    Args:
        values (ArrayLike): (r,) one a replicate; NaN is left out.
        level (float): Share of the replicates inside. Defaults to 0.95.

    Returns:
        tuple[float, float]: Lower and upper end; NaN if no replicate has a value.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return float('nan'), float('nan')
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_weights(weights: np.ndarray, num_films: int) -> np.ndarray:
    takes = np.asarray(weights, np.int64)
    if takes.ndim != 2 or takes.shape[1] != num_films:
        raise ValueError(f'weights must be (replicates, {num_films}), got shape {takes.shape}')
    return takes


@njit(cache=True)
def _recalls(
    films, changes, hits, ends_group, weights, num_images, num_lesions, targets, first, linear
):
    recalls = np.full((len(weights), len(targets)), np.nan)
    for r in range(len(weights)):
        if not num_images[r] or not num_lesions[r]:
            continue
        recalls[r] = 0
        false_positives = num_hits = 0
        last_x = last_y = 0.0
        for event in range(len(films)):
            weight = weights[r, films[event]]
            false_positives += weight * changes[event]
            num_hits += weight * hits[event]
            if not ends_group[event]:
                continue
            x, y = false_positives / num_images[r], num_hits / num_lesions[r]
            if first:
                x = max(x, last_x)
            is_past = True
            for k in range(len(targets)):
                if x <= targets[k]:
                    recalls[r, k] = y
                    is_past = False
                elif last_x <= targets[k] and linear:
                    share = (targets[k] - last_x) / (x - last_x)
                    recalls[r, k] = max(recalls[r, k], last_y + share * (y - last_y))
            last_x, last_y = x, y
            if first and is_past:
                break
    return recalls


@njit(cache=True)
def _aurocs(films, is_positive, ends_group, weights):
    aurocs = np.full(len(weights), np.nan)
    for r in range(len(weights)):
        num_positive = num_negative = below = 0
        positives = negatives = 0  # of the group of equal scores
        pairs = 0.0
        for k in range(len(films)):
            weight = weights[r, films[k]]
            if is_positive[k]:
                positives += weight
            else:
                negatives += weight
            if ends_group[k]:
                pairs += positives * (below + negatives / 2)
                below += negatives
                num_positive += positives
                num_negative += negatives
                positives = negatives = 0
        if num_positive and num_negative:
            aurocs[r] = pairs / num_positive / num_negative
    return aurocs
