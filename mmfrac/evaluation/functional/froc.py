# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC and AUROC from image records; arrays in, numbers out (paper section 3, Table 1, Fig. 4)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.definitions import Definitions, check_fppi, check_option
from mmfrac.evaluation.functional.records import (
    ImageRecord,
    ImageResult,
    box_record,
    count_changes,
    counting_images,
    image_record,
)
from mmfrac.evaluation.functional.roc import auroc

__all__ = [
    'FrocCurve',
    'ImageRecord',
    'ImageResult',
    'Recall',
    'auroc',
    'box_record',
    'curve_until',
    'figures',
    'froc_curve',
    'froc_score',
    'image_record',
    'recall_at',
]


class Recall(float):
    """A recall; ``held`` is true where the curve ended before the FPPI that was asked for."""

    held: bool

    def __new__(cls, value: float, held: bool = False) -> 'Recall':
        recall = super().__new__(cls, value)
        recall.held = bool(held)
        return recall


@dataclass(frozen=True, eq=False, slots=True)
class FrocCurve:
    """Operating points of a set of images, in descending order of the threshold.

    Attributes:
        thresholds (np.ndarray): (k,) distinct; the first is infinity, the anchor at (0, 0).
        fppi (np.ndarray): (k,) false positives per image; not monotone. NaN if there is no film to
            count them on.
        recall (np.ndarray): (k,) share of the lesions that are hit. NaN if there is no lesion.
        num_images (int): Images on which false positives are counted and by which they are divided.
        num_lesions (int): Lesions of all images.
    """

    thresholds: np.ndarray
    fppi: np.ndarray
    recall: np.ndarray
    num_images: int
    num_lesions: int


def froc_curve(
    records: Sequence[ImageRecord],
    denominator: str = 'all',
    counting: ArrayLike | None = None,
) -> FrocCurve:
    """Pool the records of all images into one FROC curve.

    Args:
        records (Sequence[ImageRecord]): One record an image.
        denominator (str): 'all': false positives of all images per image; 'negatives': of the
            images without lesions per image without lesions. Defaults to 'all'.
        counting (ArrayLike, optional): (n,) bool, images on which false positives are counted and by
            which they are divided, in place of ``denominator``. Defaults to None.

    Returns:
        FrocCurve: Every threshold at which a false positive or a hit comes or goes.

    Raises:
        ValueError: If ``denominator`` is not one of these or ``counting`` has another shape.
    """
    is_counting = counting_images(records, denominator, counting)
    counted = [record for record, counts in zip(records, is_counting) if counts]
    lesion_scores = _join([r.lesion_scores for r in records])
    hit_scores = lesion_scores[lesion_scores > 0]
    changes = _join([count_changes(r) for r in counted])

    # One row (change of false positives, change of hits) for each threshold of each image.
    thresholds = _join([*(r.thresholds for r in counted), hit_scores])
    steps = np.zeros((thresholds.size, 2), np.int64)
    steps[: changes.size, 0] = changes
    steps[changes.size :, 1] = 1
    order = np.argsort(-thresholds)
    thresholds, points = thresholds[order], np.cumsum(steps[order], axis=0)

    ends_group = np.append(thresholds[:-1] != thresholds[1:], True)[: thresholds.size]
    thresholds = np.concatenate([[np.inf], thresholds[ends_group]])
    points = np.concatenate([[[0, 0]], points[ends_group]])
    moves = np.append(True, (points[1:] != points[:-1]).any(axis=1))
    with np.errstate(invalid='ignore'):
        fppi = points[moves, 0] / np.float64(len(counted))
        recall = points[moves, 1] / np.float64(lesion_scores.size)
    return FrocCurve(thresholds[moves], fppi, recall, len(counted), lesion_scores.size)


def curve_until(curve: FrocCurve, fppi: float) -> FrocCurve:
    """The part of a curve on which the running maximum of FPPI is at most ``fppi``, and the next point.

    ``recall_at`` with ``crossing='first'`` reads the same from it up to ``fppi``.

    Args:
        curve (FrocCurve): Curve of all images.
        fppi (float): False positives per image.

    Returns:
        FrocCurve: Views of the same arrays.
    """
    past = np.flatnonzero(curve.fppi > fppi)
    end = past[0] + 1 if past.size else curve.fppi.size
    return FrocCurve(
        curve.thresholds[:end],
        curve.fppi[:end],
        curve.recall[:end],
        curve.num_images,
        curve.num_lesions,
    )


@overload
def recall_at(
    curve: FrocCurve, fppi: float, crossing: str = ..., interpolation: str = ...
) -> Recall: ...


@overload
def recall_at(
    curve: FrocCurve, fppi: Sequence[float], crossing: str = ..., interpolation: str = ...
) -> list[Recall]: ...


def recall_at(
    curve: FrocCurve,
    fppi: float | Sequence[float],
    crossing: str = 'first',
    interpolation: str = 'linear',
) -> Recall | list[Recall]:
    """Recall at a number of false positives per image.

    Args:
        curve (FrocCurve): Curve of all images.
        fppi (float | Sequence[float]): False positives per image, >= 0.
        crossing (str): FPPI is not monotone in the threshold. 'first': walk the thresholds down
            until the running maximum of FPPI passes ``fppi``; 'best': of all the places where
            FPPI is at most ``fppi`` take the one with the best recall. Defaults to 'first'.
        interpolation (str): 'linear' between operating points, or 'step': the last operating
            point that was reached. Defaults to 'linear'.

    Returns:
        Recall | list[Recall]: One for each value of ``fppi``. Past the end of the curve its last
        recall, with ``held`` true. NaN, with a warning, if there is no lesion or no film to count
        false positives on.

    Raises:
        ValueError: If an option is unknown or ``fppi`` is negative or not finite.
    """
    check_option('crossing', crossing)
    check_option('interpolation', interpolation)
    wanted = check_fppi(fppi)
    if np.isnan(curve.recall[0]) or np.isnan(curve.fppi[0]):
        lacks = 'lesion' if curve.num_images else 'film to count false positives on'
        warnings.warn(f'recall is NaN: there is no {lacks}', stacklevel=2)
        recalls = [Recall(np.nan) for _ in wanted.ravel()]
    else:
        recalls = [_recall_at(curve, x, crossing, interpolation) for x in wanted.ravel()]
    return recalls if wanted.ndim else recalls[0]


def froc_score(
    curve: FrocCurve,
    targets: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
    crossing: str = 'first',
    interpolation: str = 'linear',
) -> Recall:
    """FROC score: mean recall at several FPPI (paper section 3, "Evaluation Metrics").

    Args:
        curve (FrocCurve): Curve of all images.
        targets (Sequence[float]): FPPI values. Defaults to (.1, .2, .3, .4, .5).
        crossing (str): See :func:`recall_at`. Defaults to 'first'.
        interpolation (str): See :func:`recall_at`. Defaults to 'linear'.

    Returns:
        Recall: The mean; ``held`` if any of the recalls is.

    Raises:
        ValueError: As :func:`recall_at`, or if there is no target.
    """
    check_fppi(targets, many=True)
    recalls = recall_at(curve, targets, crossing, interpolation)
    return Recall(float(np.mean(recalls)), any(recall.held for recall in recalls))


def figures(
    images: Sequence[ImageResult], definitions: Definitions
) -> tuple[dict[str, Recall], FrocCurve]:
    """AUROC, FROC score and recalls of images: the one place where they come from.

    Args:
        images (Sequence[ImageResult]): Distinct images. Those with label -1 are left out of AUROC, those
            without a record out of FROC.
        definitions (Definitions): How they are counted.

    Returns:
        tuple[dict[str, Recall], FrocCurve]: Values by ``definitions.metric_names``, and the pooled
        curve. NaN, with a warning, where a class or lesions are missing.
    """
    options = (definitions.crossing, definitions.interpolation)
    records = [image.record for image in images if image.record is not None]
    curve = froc_curve(records, definitions.denominator)
    area = auroc([image.label for image in images], [image.score for image in images])
    found = {'AUROC': Recall(area), 'FROC': froc_score(curve, definitions.targets, *options)}
    recalls = recall_at(curve, definitions.recall_fppi, *options)
    return found | dict(zip(definitions.recall_names, recalls)), curve


def _recall_at(curve: FrocCurve, wanted: float, crossing: str, interpolation: str) -> Recall:
    fppi = np.maximum.accumulate(curve.fppi) if crossing == 'first' else curve.fppi
    within = fppi <= wanted
    # Recall only grows along the curve, so the last point within is the best one.
    recall = curve.recall[within][-1]
    leaves = np.flatnonzero(within[:-1] & ~within[1:])
    if interpolation == 'linear' and leaves.size:
        share = (wanted - fppi[leaves]) / (fppi[leaves + 1] - fppi[leaves])
        rise = curve.recall[leaves + 1] - curve.recall[leaves]
        recall = max(recall, (curve.recall[leaves] + share * rise).max())
    return Recall(recall, held=bool(wanted > fppi.max()))


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)
