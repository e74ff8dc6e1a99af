# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Thresholds chosen on one set of images, and what they achieve on another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.definitions import check_fppi, check_option
from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord


@dataclass(frozen=True)
class Target:
    """What a threshold has to keep.

    Args:
        kind (str): 'fppi': at most so many false positives per image; 'sensitivity': at least this share
            of the lesions.
        value (float): >= 0; of a sensitivity in (0, 1].

    Raises:
        ValueError: If the kind is unknown or the value out of range.
    """

    kind: str
    value: float

    KINDS = ('fppi', 'sensitivity')

    def __post_init__(self) -> None:
        if self.kind not in self.KINDS:
            raise ValueError(f'a target is one of {self.KINDS}, got {self.kind!r}')
        if self.kind == 'fppi':
            check_fppi(self.value, many=False)
        elif not 0 < self.value <= 1:
            raise ValueError(f'a target sensitivity is in (0, 1], got {self.value}')

    @classmethod
    def parse(cls, text: str) -> 'Target':
        """Read ``fppi=0.1`` or ``sensitivity=0.9``.

        Raises:
            ValueError: If it is neither.
        """
        kind, _, value = text.partition('=')
        try:
            number = float(value)
        except ValueError:
            raise ValueError(
                f'a target is written fppi=NUMBER or sensitivity=NUMBER, got {text!r}'
            ) from None
        return cls(kind, number)

    def __str__(self) -> str:
        return f'{self.kind}={self.value:g}'


def choose_threshold(curve: FrocCurve, target: Target, crossing: str = 'first') -> float:
    """Threshold that reaches a target on the images of a curve; an operating point, not between two.

    Args:
        curve (FrocCurve): Of the images to choose on, e.g. of validation.
        target (Target): See there.
        crossing (str): Of an FPPI, as in :func:`froc.recall_at`: 'first': the lowest threshold before
            the running maximum of FPPI passes the target; 'best': of all thresholds whose FPPI is at
            most the target the lowest. Defaults to 'first'.

    Returns:
        float: Infinity where only keeping nothing holds an FPPI. NaN where no threshold reaches a
        sensitivity, or the curve has no image or lesion.

    Raises:
        ValueError: If ``crossing`` is unknown.
    """
    check_option('crossing', crossing)
    if target.kind == 'sensitivity':
        reached = np.flatnonzero(curve.recall >= target.value)
        return float(curve.thresholds[reached[0]]) if reached.size else float('nan')
    fppi = np.maximum.accumulate(curve.fppi) if crossing == 'first' else curve.fppi
    within = np.flatnonzero(fppi <= target.value)
    return float(curve.thresholds[within[-1]]) if within.size else float('nan')


def rates_at(
    records: Sequence[ImageRecord | None],
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    replicates: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What a threshold achieves, in every replicate.

    Args:
        records (Sequence[ImageRecord | None]): (n,) one an image with complete regions, None for the
            others.
        labels (ArrayLike): (n,) 1, 0 or -1.
        scores (ArrayLike): (n,) image scores.
        threshold (float): > 0; infinity keeps nothing.
        replicates (np.ndarray, optional): (r, n) how often each replicate takes each image. Defaults to
            None, every image once.

    Returns:
        dict[str, np.ndarray]: (r,) each, NaN where there is nothing to divide by. ``recall``: lesions
        that are hit; ``fppi``: false positives per image, ``fppi_negatives`` and ``fppi_positives``
        those on images without and with lesions; ``sensitivity`` and ``specificity``: images with
        label 1 whose score is at least the threshold, and with label 0 whose score is not.

    Raises:
        ValueError: If the threshold is not > 0.
    """
    if not threshold > 0:
        raise ValueError(f'a threshold must be > 0, got {threshold}')
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    weights = np.ones((1, truth.size)) if replicates is None else np.asarray(replicates)
    false_positives, hits, lesions = np.zeros((3, truth.size))
    has_regions = np.zeros(truth.size, bool)
    for index, record in enumerate(records):
        if record is None:
            continue
        has_regions[index] = True
        false_positives[index] = record.false_positives_at(threshold)
        hits[index] = np.count_nonzero(record.lesion_scores.astype(np.float64) >= threshold)
        lesions[index] = record.lesion_scores.size
    has_lesions = lesions > 0
    negative, positive = has_regions & ~has_lesions, has_regions & has_lesions
    is_called = values >= threshold

    def ratio(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide='ignore', invalid='ignore'):
            return (weights @ counts.astype(np.float64)) / (weights @ totals.astype(np.float64))

    return dict(
        recall=ratio(hits, lesions),
        fppi=ratio(false_positives, has_regions),
        fppi_negatives=ratio(false_positives * negative, negative),
        fppi_positives=ratio(false_positives * positive, positive),
        sensitivity=ratio(is_called & (truth == 1), truth == 1),
        specificity=ratio(~is_called & (truth == 0), truth == 0),
    )
