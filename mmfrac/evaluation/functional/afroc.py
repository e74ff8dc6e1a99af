# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""JAFROC figure of merit: the area under the alternative FROC curve, from image records.

The probability that a lesion is rated above the highest false positive of an image; ties count one half,
and what is not marked at all (a score of 0) ties with what is not marked either. Chakraborty and
Berbaum, Medical Physics 31 (2004) 2313.
"""

from collections.abc import Sequence

import numpy as np

from mmfrac.evaluation.definitions import check_option
from mmfrac.evaluation.functional.records import ImageRecord
from mmfrac.evaluation.functional.roc import weighted_areas

WEIGHTS = ('lesions', 'films')


def afroc_area(
    records: Sequence[ImageRecord], films: str = 'negatives', weights: str = 'lesions'
) -> float:
    """JAFROC figure of merit.

    Args:
        records (Sequence[ImageRecord]): One an image.
        films (str): Whose highest false positives count: 'negatives' (AFROC, JAFROC) images without
            lesions, or 'all' (AFROC1). Defaults to 'negatives'.
        weights (str): 'lesions': every lesion alike; 'films' (wAFROC): every image with lesions alike,
            shared by its lesions. Defaults to 'lesions'.

    Returns:
        float: In [0, 1]; NaN without a lesion or without an image to count false positives on.

    Raises:
        ValueError: If an option is unknown.
    """
    once = np.ones((1, len(records)), np.int64)
    return float(bootstrap_afroc_area(records, once, films, weights)[0])


def bootstrap_afroc_area(
    records: Sequence[ImageRecord],
    replicates: np.ndarray,
    films: str = 'negatives',
    weights: str = 'lesions',
) -> np.ndarray:
    """:func:`afroc_area` of every replicate.

    Args:
        records (Sequence[ImageRecord]): (n,) one an image.
        replicates (np.ndarray): (r, n) how often each replicate takes each image.
        films (str): See :func:`afroc_area`. Defaults to 'negatives'.
        weights (str): See :func:`afroc_area`. Defaults to 'lesions'.

    Returns:
        np.ndarray: (r,) float64; NaN where a replicate cannot be measured.

    Raises:
        ValueError: If an option is unknown.
    """
    check_option('afroc_films', films)
    if weights not in WEIGHTS:
        raise ValueError(f'weights must be one of {WEIGHTS}, got {weights!r}')
    num_lesions = np.array([record.lesion_scores.size for record in records], np.int64)
    counting = np.flatnonzero((num_lesions == 0) | (films == 'all')).tolist()
    lesion_images = np.repeat(np.arange(len(records)), num_lesions)
    lesion_scores = [record.lesion_scores.astype(np.float64) for record in records]
    ratings = np.concatenate(
        [*lesion_scores, [highest_false_positive(records[index]) for index in counting]]
    )
    shares = np.ones(ratings.size)
    if weights == 'films':
        shares[: lesion_images.size] = 1 / num_lesions[lesion_images]
    is_lesion = np.arange(ratings.size) < lesion_images.size
    rated_images = np.concatenate([lesion_images, np.array(counting, np.int64)])
    return weighted_areas(rated_images, is_lesion, shares, ratings, replicates)


def highest_false_positive(record: ImageRecord) -> float:
    """Highest threshold at which an image has a false positive; 0 if it has none."""
    return float(record.thresholds[0]) if record.thresholds.size else 0.0
