# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Replicates of FROC and AUROC by resampled patients, from image records."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from mmfrac.evaluation.definitions import Definitions, check_fppi, check_option
from mmfrac.evaluation.functional.records import ImageRecord, ImageResult, counting_images
from mmfrac.evaluation.functional.roc import weighted_areas


class PooledEvents(NamedTuple):
    """Changes of false positives and hits in descending order of their threshold.

    Attributes:
        images (np.ndarray): (m,) index of the image.
        changes (np.ndarray): (m,) change of its false positives.
        hits (np.ndarray): (m,) lesions hit from there on.
        ends_group (np.ndarray): (m,) whether the next event has another threshold.
        is_whole (bool): Whether no event was left out.
    """

    images: np.ndarray
    changes: np.ndarray
    hits: np.ndarray
    ends_group: np.ndarray
    is_whole: bool


def pooled_events(
    records: Sequence[ImageRecord], counting: np.ndarray, depth: int | None = None
) -> PooledEvents:
    """Pool the events of all records.

    Args:
        records (Sequence[ImageRecord]): (n) one an image.
        counting (np.ndarray): (n,) bool, images whose false positives count.
        depth (int, optional): Leave out what lies below the highest threshold that is the ``depth``-th
            of an image, so that at most ``depth`` an image have to be sorted; what is left is complete.
            Defaults to None, all.

    Returns:
        PooledEvents: In descending order.
    """
    floor = 0.0
    if depth is not None:
        deep = (
            r.thresholds[depth - 1]
            for r, c in zip(records, counting)
            if c and r.thresholds.size > depth
        )
        floor = max((float(threshold) for threshold in deep), default=0.0)
    thresholds, images, changes, hits = [], [], [], []
    for index, record in enumerate(records):
        scores = record.lesion_scores[record.lesion_scores >= max(floor, _TINY)]
        kept = record.thresholds[:depth] if counting[index] else record.thresholds[:0]
        kept = kept[: np.count_nonzero(kept >= floor)]
        counts = record.false_positives[: kept.size].astype(np.int64)
        thresholds += [kept.astype(np.float64), scores.astype(np.float64)]
        images.append(np.full(kept.size + scores.size, index))
        changes += [np.diff(counts, prepend=0), np.zeros(scores.size, np.int64)]
        hits += [np.zeros(kept.size, np.int64), np.ones(scores.size, np.int64)]
    values = np.concatenate(thresholds)
    order = np.argsort(-values, kind='stable')
    values = values[order]
    return PooledEvents(
        np.concatenate(images)[order],
        np.concatenate(changes)[order],
        np.concatenate(hits)[order],
        np.append(values[:-1] != values[1:], True)[: values.size],
        floor == 0,
    )


_TINY = np.nextafter(0, 1)

# Thresholds of an image that are looked at first: the usual FPPI is passed within them.
_FIRST_DEPTH = 64


# draws of a bootstrap that are held at the same time
_DRAWS_AT_ONCE = 4_000_000


def patient_weights(patients: Sequence, num_replicates: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each replicate takes each image.

    Args:
        patients (Sequence): (n,) patient of each image; any sortable values.
        num_replicates (int): Defaults to 2000.
        seed (int): The same seed gives the same draws. Defaults to 0.

    Returns:
        np.ndarray: (num_replicates, n) int8, so that a million images take 2 GB; int32 where an image
        is taken more than 127 times.

    Raises:
        ValueError: If there is no image or no replicate.
    """
    if not len(patients) or num_replicates < 1:
        raise ValueError(
            f'a bootstrap needs films and replicates, got {len(patients)} and {num_replicates}'
        )
    names, patient_of_image = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    weights = np.empty((num_replicates, len(patients)), np.int8)
    block = max(1, _DRAWS_AT_ONCE // len(names))
    for start in range(0, num_replicates, block):
        shape = min(block, num_replicates - start), len(names)
        draws = rng.integers(len(names), size=shape)
        draws += np.arange(shape[0])[:, None] * len(names)
        counts = np.bincount(draws.ravel(), minlength=draws.size).reshape(shape)
        if weights.dtype == np.int8 and counts.max() > np.iinfo(np.int8).max:
            weights = weights.astype(np.int32)
        weights[start : start + block] = counts[:, patient_of_image.ravel()]
    return weights


def weights_of_images(weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Weights of some images.

    Args:
        weights (np.ndarray): (r, n) how often each replicate takes each image.
        chosen (np.ndarray): (n,) bool.

    Returns:
        np.ndarray: (r, m); no copy where all are chosen, as it may take gigabytes.
    """
    return weights if chosen.all() else weights[:, chosen]


def bootstrap_recalls(
    records: Sequence[ImageRecord],
    weights: np.ndarray,
    fppi: Sequence[float],
    denominator: str = 'all',
    crossing: str = 'first',
    interpolation: str = 'linear',
    counting: ArrayLike | None = None,
    lowest: float = 0.0,
) -> np.ndarray:
    """``recall_at`` of every replicate; the options are those of :func:`froc.recall_at`.

    Args:
        records (Sequence[ImageRecord]): (n,) one an image.
        weights (np.ndarray): (r, n) how often each replicate takes each image.
        fppi (Sequence[float]): (k,) false positives per image.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.
        crossing (str): Defaults to 'first'.
        interpolation (str): Defaults to 'linear'.
        counting (ArrayLike, optional): See :func:`froc.froc_curve`. Defaults to None.
        lowest (float): Threshold down to which the records are complete. Defaults to 0, all.

    Returns:
        np.ndarray: (r, k) float64; NaN where a replicate has no lesion, or no image to count false
        positives on.

    Raises:
        ValueError: If an option is unknown, the shapes differ, or a replicate has not passed the highest
            FPPI where the records end.
    """
    check_option('crossing', crossing)
    check_option('interpolation', interpolation)
    targets = check_fppi(fppi, many=True)
    weights = _check_weights(weights, len(records))
    num_lesions = np.array([record.lesion_scores.size for record in records])
    counts = counting_images(records, denominator, counting)
    if not len(records):
        return np.full((len(weights), targets.size), np.nan)

    ascending = np.argsort(targets)
    kernel = _first_recalls if crossing == 'first' else _best_recalls
    depth = _FIRST_DEPTH if crossing == 'first' else None
    recalls = np.empty((len(weights), targets.size))
    while True:
        events = pooled_events(records, counts, depth)
        recalls[:, ascending], is_past = kernel(
            events.images,
            events.changes,
            events.hits,
            events.ends_group,
            weights,
            counts,
            num_lesions,
            targets[ascending],
            interpolation == 'linear',
        )
        if is_past or events.is_whole or depth is None:
            if lowest > 0 and not is_past:
                raise ValueError(
                    f'the records end at threshold {lowest:g}, where a replicate has not passed FPPI '
                    f'{targets.max():g}: evaluate anew with a higher records_max_fppi'
                )
            return recalls
        depth *= 4


def bootstrap_auroc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """AUROC of every replicate, ties one half.

    Args:
        labels (ArrayLike): (n,) 1, 0, or -1 for images to leave out.
        scores (ArrayLike): (n,) image scores.
        weights (np.ndarray): (r, n) how often each replicate takes each image.

    Returns:
        np.ndarray: (r,) float64; NaN where a replicate has one class only.

    Raises:
        ValueError: If the shapes differ.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    weights = _check_weights(weights, truth.size)
    if truth.shape != values.shape:
        raise ValueError(f'labels and scores differ: {truth.shape} and {values.shape}')
    known = np.flatnonzero(truth != -1)
    return weighted_areas(known, truth[known] == 1, np.ones(known.size), values[known], weights)


def bootstrap_figures(
    images: Sequence[ImageResult],
    weights: np.ndarray,
    definitions: Definitions,
    lowest: float = 0.0,
) -> dict[str, np.ndarray]:
    """:func:`froc.figures` of every replicate.

    Args:
        images (Sequence[ImageResult]): (n,) distinct images.
        weights (np.ndarray): (r, n) how often each replicate takes each image.
        definitions (Definitions): How they are counted.
        lowest (float): See :func:`bootstrap_recalls`. Defaults to 0.

    Returns:
        dict[str, np.ndarray]: (r,) values by ``definitions.metric_names``.

    Raises:
        ValueError: As :func:`bootstrap_recalls`.
    """
    measured = np.array([image.record is not None for image in images], bool)
    drawn = bootstrap_recalls(
        [image.record for image in images if image.record is not None],
        weights_of_images(np.asarray(weights), measured),
        [*definitions.targets, *definitions.recall_fppi],
        definitions.denominator,
        definitions.crossing,
        definitions.interpolation,
        lowest=lowest,
    )
    labels, scores = [image.label for image in images], [image.score for image in images]
    num_targets = len(definitions.targets)
    found = {
        'AUROC': bootstrap_auroc(labels, scores, weights),
        'FROC': drawn[:, :num_targets].mean(axis=1),
    }
    return found | dict(zip(definitions.recall_names, drawn[:, num_targets:].T))


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


def _check_weights(weights: np.ndarray, num_images: int) -> np.ndarray:
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != num_images:
        raise ValueError(f'weights must be (replicates, {num_images}), got shape {weights.shape}')
    return weights


@njit(cache=True)
def _totals(weights, counts, lesions):
    num_images = num_lesions = 0
    for image in range(len(weights)):
        num_images += weights[image] * counts[image]
        num_lesions += weights[image] * lesions[image]
    return num_images, num_lesions


@njit(cache=True)
def _first_recalls(images, changes, hits, ends_group, weights, counts, lesions, targets, is_linear):
    """FPPI as its running maximum: the ascending targets are passed one after the other."""
    recalls = np.full((len(weights), len(targets)), np.nan)
    is_past = True  # whether all replicates passed the last target
    for r in range(len(weights)):
        num_images, num_lesions = _totals(weights[r], counts, lesions)
        if not num_images or not num_lesions:
            continue
        false_positives = num_hits = passed = 0
        last_x = last_y = 0.0
        for event in range(len(images)):
            weight = weights[r, images[event]]
            false_positives += weight * changes[event]
            num_hits += weight * hits[event]
            if not ends_group[event]:
                continue
            x, y = max(last_x, false_positives / num_images), num_hits / num_lesions
            while passed < len(targets) and x > targets[passed]:
                share = (targets[passed] - last_x) / (x - last_x) if is_linear else 0.0
                recalls[r, passed] = last_y + share * (y - last_y)
                passed += 1
            if passed == len(targets):
                break
            last_x, last_y = x, y
        recalls[r, passed:] = last_y
        is_past &= passed == len(targets)
    return recalls, is_past


@njit(cache=True)
def _best_recalls(images, changes, hits, ends_group, weights, counts, lesions, targets, is_linear):
    """Of all places where FPPI is at most the target the best recall."""
    recalls = np.full((len(weights), len(targets)), np.nan)
    for r in range(len(weights)):
        num_images, num_lesions = _totals(weights[r], counts, lesions)
        if not num_images or not num_lesions:
            continue
        recalls[r] = 0
        false_positives = num_hits = 0
        last_x = last_y = 0.0
        for event in range(len(images)):
            weight = weights[r, images[event]]
            false_positives += weight * changes[event]
            num_hits += weight * hits[event]
            if not ends_group[event]:
                continue
            x, y = false_positives / num_images, num_hits / num_lesions
            for k in range(len(targets)):
                if x <= targets[k]:
                    recalls[r, k] = y
                elif last_x <= targets[k] and is_linear:
                    share = (targets[k] - last_x) / (x - last_x)
                    recalls[r, k] = max(recalls[r, k], last_y + share * (y - last_y))
            last_x, last_y = x, y
    return recalls, False
