# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a model says of one image, and whether it makes sense."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.functional.records import ImageRecord, box_record, image_record

_MAX_LINES = 50
_NOT_COUNTED = 'as FROC counts thresholds above 0 only; pass logits through a sigmoid'


class PredictionError(ValueError):
    """All that is wrong with saved predictions, a line for each image or record.

    Attributes:
        problems (tuple[str, ...]): Every line, also those beyond the message's limit.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = [f'  {problem}' for problem in problems[:_MAX_LINES]]
        if len(problems) > _MAX_LINES:
            lines.append(f'  ... and {len(problems) - _MAX_LINES} more')
        count = f'{len(problems)} problem' + ('s' if len(problems) > 1 else '')
        super().__init__(f'{count} in the predictions {where}:\n' + '\n'.join(lines))


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """Prediction of one image.

    Args:
        img_path (str): Path or name of the image.
        boxes (np.ndarray): (m, 4) xyxy, px of the image.
        box_scores (np.ndarray): (m,) their scores.
        score (float, optional): Image score. Defaults to None, the maximum of the map or of the boxes.
        prob_map (np.ndarray, optional): (h, w) cropped to the image.
        map_scale (tuple[float, float], optional): Image px per map cell (sx, sy).
        box_classes (tuple[str, ...], optional): (m,) category of each box. Defaults to None, they are
            all of the categories that are measured.
    """

    img_path: str
    boxes: np.ndarray
    box_scores: np.ndarray
    score: float | None = None
    prob_map: np.ndarray | None = None
    map_scale: tuple[float, float] | None = None
    box_classes: tuple[str, ...] | None = None

    @property
    def image_score(self) -> float:
        """Its own, else the maximum of its map, else the highest score of its boxes, 0 without any."""
        if self.score is not None:
            return self.score
        if self.prob_map is not None:
            return float(self.prob_map.max())
        return float(self.box_scores.max(initial=0))

    def measured_as(self, source: str) -> 'ImagePrediction':
        """What a source measures of it.

        Args:
            source (str): 'prob_map', 'boxes' or 'auto', see ``FracMetric``.

        Returns:
            ImagePrediction: With 'boxes' its boxes alone, without map and image score; else itself.
        """
        if source != 'boxes':
            return self
        return replace(self, score=None, prob_map=None, map_scale=None)

    def record(
        self,
        gt_boxes: ArrayLike,
        ignore_boxes: ArrayLike,
        connectivity: int = 8,
        name: str = '',
    ) -> ImageRecord:
        """Record of its map where it has one, else of its boxes.

        Args:
            gt_boxes (ArrayLike): (n, 4) xyxy boxes of the lesions, px of the image.
            ignore_boxes (ArrayLike): (k, 4) xyxy boxes to ignore.
            connectivity (int): Neighbours of a map cell, 8 or 4. Defaults to 8.
            name (str): Image, for error messages. Defaults to ''.

        Returns:
            ImageRecord: See :func:`froc.image_record` and :func:`froc.box_record`.

        Raises:
            ValueError: If the map or a box is malformed.
        """
        if self.prob_map is None:
            boxes, scores = self.boxes, self.box_scores
            return box_record(boxes, scores, gt_boxes, ignore_boxes=ignore_boxes, name=name)
        # None is refused there
        scale: Any = self.map_scale
        return image_record(
            self.prob_map,
            gt_boxes,
            scale,
            connectivity,
            ignore_boxes=ignore_boxes,
            name=name,
        )

    def of_categories(self, names: Sequence[str]) -> tuple['ImagePrediction', list[str]]:
        """The prediction with the boxes of some categories, and the categories of those left out.

        Args:
            names (Sequence[str]): Categories to keep.

        Returns:
            tuple[ImagePrediction, list[str]]: Itself, and nothing, where its boxes have no categories.
        """
        if self.box_classes is None or len(self.box_classes) != len(self.boxes):
            return self, []
        kept = np.array([name in names for name in self.box_classes], bool)
        left_out = [name for name in self.box_classes if name not in names]
        if not left_out:
            return self, []
        # what a box detector has for an image is the highest score of all its boxes
        highest = float(self.box_scores.max())
        is_own = self.prob_map is not None or not np.isclose(
            np.nan if self.score is None else self.score, highest, rtol=1e-6, atol=0
        )
        chosen = replace(
            self,
            boxes=self.boxes[kept],
            box_scores=self.box_scores[kept],
            # which is not that of these
            score=self.score if is_own else None,
            box_classes=tuple(name for name in self.box_classes if name in names),
        )
        return chosen, left_out

    def faults(self, shape: tuple[int, int] | None = None) -> list[str]:
        """What is wrong with it, one phrase each.

        Args:
            shape (tuple[int, int], optional): (height, width) px of the image, which the map has to
                cover and no box may miss. Defaults to None.

        Returns:
            list[str]: Empty if all is well.
        """
        found = []
        if self.score is not None and not np.isfinite(self.score):
            found.append(f'image score is {self.score}')
        boxes, scores = self.boxes, self.box_scores
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            found.append(f'boxes {boxes.shape} and scores {scores.shape} must be (m, 4) and (m,)')
        elif self.box_classes is not None and len(self.box_classes) != len(boxes):
            found.append(f'{len(self.box_classes)} box_classes of {len(boxes)} boxes')
        elif not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            found.append('a box or its score is NaN or infinite')
        elif (boxes[:, 2:] < boxes[:, :2]).any():
            found.append('a box has x1 > x2 or y1 > y2 (xyxy is wanted)')
        elif (scores < 0).any():
            found.append(
                f'a box score is {scores.min():g}: probabilities are wanted, {_NOT_COUNTED}'
            )
        elif shape is not None:
            found += self._outside(shape)
        if self.prob_map is not None:
            found += self._map_faults(shape)
        return found

    def _outside(self, shape: tuple[int, int]) -> list[str]:
        x1, y1, x2, y2 = self.boxes.T
        outside = (x2 < 0) | (y2 < 0) | (x1 > shape[1]) | (y1 > shape[0])
        if not outside.any():
            return []
        box = ', '.join(f'{edge:.1f}' for edge in self.boxes[np.argmax(outside)])
        return [
            f'box ({box}) lies off the film of {shape[1]} x {shape[0]} px (w x h): px of the film are '
            'wanted, not of the network input'
        ]

    def _map_faults(self, shape: tuple[int, int] | None) -> list[str]:
        cells, scale = self.prob_map, self.map_scale
        assert cells is not None
        if cells.ndim != 2 or not cells.size:
            return [f'prob_map must be (h, w) and not empty, got shape {cells.shape}']
        if not np.isfinite(cells).all():
            bad = np.count_nonzero(~np.isfinite(cells))
            return [f'prob_map has {bad} cells that are NaN or infinite']
        if cells.min() < 0:
            return [
                f'prob_map has values down to {cells.min():g}: probabilities are wanted, '
                f'{_NOT_COUNTED}'
            ]
        if (
            scale is None
            or np.shape(scale) != (2,)
            or not all(np.isfinite(s) and s > 0 for s in scale)
        ):
            return [f'map_scale must be two numbers > 0 (sx, sy), got {scale}']
        if shape is None:
            return []
        covered = (cells.shape[0] * scale[1], cells.shape[1] * scale[0])
        # the last cell may reach beyond the film by less than its size
        if any(
            not length - 1 <= covers < length + 1 + step
            for length, covers, step in zip(shape, covered, scale[::-1])
        ):
            size = ' x '.join(f'{length:.1f}' for length in covered)
            return [f'prob_map covers {size} px (h x w) of a film of {shape[0]} x {shape[1]} px']
        return []


# a detector may leave this share of a side uncut
_BEYOND = 0.1
# and a px of rounding
_ROUNDING = 1.0
_MOST = 0.98
# of all boxes may leave the image by more
_FEW = 0.05


def misread_boxes(values: np.ndarray, sizes: np.ndarray, form: str) -> str:
    """What all boxes of a file together look like, if that is not the form that they are read in.

    Args:
        values (np.ndarray): (n, 4) as they are stored, finite.
        sizes (np.ndarray): (n, 2) width and height of each one's image, px.
        form (str): What they are taken for, 'xywh' (x, y, width, height) or 'xyxy' (x1, y1, x2, y2).

    Returns:
        str: One phrase; '' if they look as they should.
    """
    if not len(values):
        return ''
    if values.min() >= -_BEYOND and values.max() <= 1 + _BEYOND and sizes.min() > 4:
        return (
            f'all {len(values)} boxes lie in [0, 1], as shares of the image: px of the image are '
            'wanted, multiply them by its width and height'
        )
    x, y, third, fourth = values.T
    width, height = sizes.T
    if form == 'xywh':
        beyond = (x + third > width + _ROUNDING) | (y + fourth > height + _ROUNDING)
        fits = (third >= x) & (fourth >= y)
        fits &= (third <= width + _ROUNDING) & (fourth <= height + _ROUNDING)
        other, wanted = 'x1, y1, x2, y2', 'x, y, width, height'
        sign = 'reach beyond their image'
    else:
        beyond = (third < x) | (fourth < y)
        fits = (third >= 0) & (fourth >= 0)
        fits &= (x + third <= width + _ROUNDING) & (y + fourth <= height + _ROUNDING)
        other, wanted = 'x, y, width, height', 'x1, y1, x2, y2'
        sign = 'have x1 > x2 or y1 > y2'
    if not beyond.any() or fits.mean() < _MOST:
        corners = np.stack([x, y, third, fourth], axis=1)
        corners[:, 2:] += corners[:, :2] if form == 'xywh' else 0
        return _leaving(corners, sizes)
    return (
        f'{beyond.sum()} of {len(values)} boxes {sign}, and nearly all fit as {other}: {wanted} is '
        'wanted'
    )


def _leaving(boxes: np.ndarray, sizes: np.ndarray) -> str:
    low, high = boxes[:, :2], boxes[:, 2:]
    middle = (low + high) / 2
    off = (
        (middle < 0) | (middle > sizes) | (low < -_BEYOND * sizes) | (high > (1 + _BEYOND) * sizes)
    )
    leaves = off.any(axis=1)
    if leaves.mean() <= _FEW:
        return ''
    index = int(np.argmax(leaves))
    box = ', '.join(f'{edge:.1f}' for edge in boxes[index])
    width, height = sizes[index].astype(int).tolist()
    return (
        f'{leaves.sum()} of {len(boxes)} boxes leave their film, e.g. ({box}) one of {width} x {height} '
        'px (w x h): px of the film are wanted, not of the network input or of another film'
    )


def no_boxes() -> tuple[np.ndarray, np.ndarray]:
    """Empty boxes (0, 4) and scores (0,)."""
    return np.zeros((0, 4)), np.zeros(0)
