# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What one image adds to the FROC curve and the AUROC, in a few kilobytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.definitions import check_option
from mmfrac.evaluation.functional.component_tree import false_positive_counts


@dataclass(frozen=True, eq=False, slots=True)
class ImageRecord:
    """Hits and false positives of one image at every threshold t > 0.

    Attributes:
        thresholds (np.ndarray): (k,) descending values > 0 at which the number of false positives
            changes; float32, or float64 where the input was.
        false_positives (np.ndarray): (k,) false positives from ``thresholds[i]`` down to the next
            threshold, in the smallest unsigned integer type that holds them. Above
            ``thresholds[0]`` there are none.
        lesion_scores (np.ndarray): (n,) highest threshold at which each lesion is hit.
        image_score (float): Image score.
    """

    thresholds: np.ndarray
    false_positives: np.ndarray
    lesion_scores: np.ndarray
    image_score: float

    def false_positives_at(self, ts: ArrayLike) -> np.ndarray | int:
        """Number of false positives at given thresholds.

        Args:
            ts (ArrayLike): Thresholds > 0, any shape.

        Returns:
            np.ndarray | int: Counts in the shape of ``ts``, an int for a scalar.

        Raises:
            ValueError: If a threshold is not > 0.
        """
        wanted = np.asarray(ts, np.float64)
        if not (wanted > 0).all():
            raise ValueError(f'thresholds must be > 0, got {ts!r}')
        # In float64: a Python 0.1 must not be rounded to the float32 of the map.
        ascending = self.thresholds[::-1].astype(np.float64)
        num_reached = ascending.size - np.searchsorted(ascending, wanted, side='left')
        counts = np.concatenate([[0], self.false_positives.astype(np.int64)])[num_reached]
        return counts if wanted.ndim else int(counts)

    def down_to(self, lowest: float) -> 'ImageRecord':
        """The record without its thresholds below ``lowest``, as a copy where there are any."""
        kept = np.count_nonzero(self.thresholds >= lowest)
        if kept == self.thresholds.size:
            return self
        return ImageRecord(
            self.thresholds[:kept].copy(),
            self.false_positives[:kept].copy(),
            self.lesion_scores,
            self.image_score,
        )


@dataclass(frozen=True)
class ImageResult:
    """One image of an evaluation.

    Attributes:
        img_id (str): Id of the image in its annotation file.
        patient_id (str): Patient, the unit of the bootstrap.
        label (int): 1, 0 or -1.
        score (float): Image score.
        record (ImageRecord | None): None for an image without complete regions.
    """

    img_id: str
    patient_id: str
    label: int
    score: float
    record: ImageRecord | None


def image_record(
    prob_map: ArrayLike,
    gt_boxes: ArrayLike,
    scale: Sequence[float] = (1.0, 1.0),
    connectivity: int = 8,
    *,
    ignore_boxes: ArrayLike | None = None,
    name: str = '',
) -> ImageRecord:
    """Record of a prob map: paper section 3, "Evaluation Metrics", at every threshold at once.

    The mask at t is {P >= t}. A lesion is hit when the cell that holds its box midpoint is in the
    mask. A component of the mask is a false positive when the centre of its rectangle,
    ``((c0 + c1 + 1) / 2 * sx, (r0 + r1 + 1) / 2 * sy)``, lies in no box (edges inclusive), neither of
    a lesion nor an ignored one. An ignored box is no lesion.

    Args:
        prob_map (ArrayLike): (h, w) finite values, cropped to the image.
        gt_boxes (ArrayLike): (n, 4) xyxy boxes of the lesions in image pixels; n may be 0.
        scale (Sequence[float]): Image pixels per map cell, (sx, sy). Defaults to (1., 1.).
        connectivity (int): Neighbours of a cell, 8 or 4. Defaults to 8.
        ignore_boxes (ArrayLike, optional): (k, 4) xyxy boxes to ignore. Defaults to None, none.
        name (str): Image, for error messages. Defaults to ''.

    Returns:
        ImageRecord: ``lesion_scores`` are the map values at the box midpoints, ``image_score`` is
        the maximum of the map.

    Raises:
        ValueError: If the map is not 2-D, is empty or not finite, a box is malformed, or
            ``scale`` or ``connectivity`` is out of range.
    """
    where = f' of film {name}' if name else ''
    check_option('connectivity', connectivity)
    values = _check_prob_map(prob_map, where)
    boxes = _check_boxes(gt_boxes, f'gt_boxes{where}')
    no_false = np.concatenate([boxes, _check_boxes(ignore_boxes, f'ignore_boxes{where}')])
    steps = np.asarray(scale, np.float64)
    if steps.shape != (2,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f'scale{where} must be two numbers > 0, (sx, sy), got {scale!r}')

    thresholds, counts = false_positive_counts(values, no_false, (steps[0], steps[1]), connectivity)
    last_cells = np.array(values.shape[::-1]) - 1
    columns, rows = np.clip(np.floor(_midpoints(boxes) / steps), 0, last_cells).astype(np.int64).T
    return ImageRecord(thresholds, _compact(counts), values[rows, columns], float(values.max()))


def box_record(
    boxes: ArrayLike,
    scores: ArrayLike,
    gt_boxes: ArrayLike,
    *,
    ignore_boxes: ArrayLike | None = None,
    name: str = '',
) -> ImageRecord:
    """Record of a box detector under the rules of :func:`image_record`.

    At t the boxes with score >= t are kept. A lesion is hit when its box midpoint lies in the union
    of the kept boxes. A kept box is a false positive when its centre lies in no GT box and in no
    ignored one. Edges are inclusive.

    Args:
        boxes (ArrayLike): (m, 4) xyxy predictions in image pixels; m may be 0.
        scores (ArrayLike): (m,) their scores.
        gt_boxes (ArrayLike): (n, 4) xyxy boxes of the lesions in image pixels; n may be 0.
        ignore_boxes (ArrayLike, optional): (k, 4) xyxy boxes to ignore. Defaults to None, none.
        name (str): Image, for error messages. Defaults to ''.

    Returns:
        ImageRecord: ``lesion_scores`` and ``image_score`` are 0 where there is no box.

    Raises:
        ValueError: If a box is malformed or the scores do not match the boxes.
    """
    where = f' of film {name}' if name else ''
    kept = _check_boxes(boxes, f'boxes{where}')
    lesions = _check_boxes(gt_boxes, f'gt_boxes{where}')
    no_false = np.concatenate([lesions, _check_boxes(ignore_boxes, f'ignore_boxes{where}')])
    values = _as_floats(scores, f'scores{where}')
    if values.shape != (len(kept),) or not np.isfinite(values).all():
        raise ValueError(
            f'scores{where} must be finite and one a box, ({len(kept)},), got shape {values.shape}'
        )

    hits = _contain(kept, _midpoints(lesions))
    lesion_scores = np.where(hits, values[:, None], 0).max(axis=0, initial=0)
    is_false = ~_contain(no_false, _midpoints(kept)).any(axis=0) & (values > 0)
    ascending, counts = np.unique(values[is_false], return_counts=True)
    return ImageRecord(
        ascending[::-1].copy(),
        _compact(np.cumsum(counts[::-1])),
        lesion_scores.astype(values.dtype),
        float(values.max(initial=0)),
    )


def counting_images(
    records: Sequence[ImageRecord], denominator: str, counting: ArrayLike | None = None
) -> np.ndarray:
    """On which images false positives are counted, (n,) bool; see :func:`froc.froc_curve`.

    Args:
        records (Sequence[ImageRecord]): (n) records of the images.
        denominator (str): 'all' or 'negatives'.
        counting (ArrayLike | None): (n,) bool, in place of ``denominator``. Defaults to None.

    Raises:
        ValueError: If an option is unknown, or ``counting`` is not of this form.
    """
    check_option('denominator', denominator)
    if counting is None:
        return np.array([denominator == 'all' or not r.lesion_scores.size for r in records], bool)
    chosen = np.asarray(counting)
    if chosen.shape != (len(records),) or chosen.dtype != np.bool_:
        raise ValueError(
            f'counting must be ({len(records)},) bool, got {chosen.dtype}{chosen.shape}'
        )
    return chosen


def count_changes(record: ImageRecord) -> np.ndarray:
    """Change of the false positives at each threshold of a record, (k,) int64."""
    return np.diff(record.false_positives.astype(np.int64), prepend=0)


def lowest_needed(
    records: Sequence[ImageRecord], num_images: int, max_fppi: float, denominator: str = 'all'
) -> float:
    """Highest threshold at which images alone have more than ``max_fppi * num_images`` false positives.

    With ``crossing='first'`` nothing below it has a part in a recall at ``max_fppi`` or less.

    Args:
        records (Sequence[ImageRecord]): Of distinct images.
        num_images (int): By which false positives are divided, or more.
        max_fppi (float): False positives per image up to which the pooled curve has to be exact.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.

    Returns:
        float: 0 if they never do.
    """
    counting = counting_images(records, denominator)
    counted = [record for record, counts in zip(records, counting) if counts]
    thresholds = np.concatenate([np.zeros(0), *(record.thresholds for record in counted)])
    changes = np.concatenate([np.zeros(0, np.int64), *map(count_changes, counted)])
    order = np.argsort(-thresholds, kind='stable')
    descending = thresholds[order]
    totals = np.cumsum(changes[order])
    ends_group = np.append(descending[:-1] != descending[1:], True)[: descending.size]
    # divided as the curve is, so that both round alike
    past = np.flatnonzero(ends_group & (totals / np.float64(num_images) > max_fppi))
    return float(descending[past[0]]) if past.size else 0.0


def _check_prob_map(prob_map: ArrayLike, where: str) -> np.ndarray:
    values = _as_floats(prob_map, f'prob map{where}')
    if values.ndim != 2 or not values.size:
        raise ValueError(f'prob map{where} must be (h, w) and not empty, got shape {values.shape}')
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f'prob map{where} has {finite.size - np.count_nonzero(finite)} cells that are NaN or '
            f'infinite, the first at row {row}, column {column}; look for an overflow in the model'
        )
    return values


def _as_floats(data: ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(data)
    if array.dtype.kind not in 'fiub':
        raise ValueError(f'{what} must be real numbers, got type {array.dtype}')
    # Exact for every narrower float, and numba compiles for two types only.
    is_narrow = array.dtype.kind == 'f' and array.dtype.itemsize <= 4
    return array.astype(np.float32 if is_narrow else np.float64, copy=False)


def _check_boxes(data: ArrayLike | None, what: str) -> np.ndarray:
    boxes = np.asarray([] if data is None else data, np.float64)
    if boxes.shape == (0,):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'{what} must be (n, 4) xyxy, got shape {boxes.shape}')
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    if not good.all():
        index = int(np.argmin(good))
        raise ValueError(
            f'{what}: box {index} is {boxes[index].tolist()}, '
            'it must be finite with x1 <= x2 and y1 <= y2 (xyxy, not xywh)'
        )
    return boxes


def _midpoints(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _contain(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(m, 4) boxes, (n, 2) points: (m, n) whether the box contains the point, edges inclusive."""
    corners = boxes[:, None]
    inside = (corners[..., :2] <= points) & (points <= corners[..., 2:])
    return np.all(inside, axis=-1)


def _compact(counts: np.ndarray) -> np.ndarray:
    return counts.astype(np.min_scalar_type(counts.max(initial=0)))
