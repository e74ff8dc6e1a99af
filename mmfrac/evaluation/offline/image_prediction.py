# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a model says of one image, and whether it makes sense."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    """

    img_path: str
    boxes: np.ndarray
    box_scores: np.ndarray
    score: float | None = None
    prob_map: np.ndarray | None = None
    map_scale: tuple[float, float] | None = None

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
        if scale is None or len(scale) != 2 or not all(np.isfinite(s) and s > 0 for s in scale):
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


def no_boxes() -> tuple[np.ndarray, np.ndarray]:
    """Empty boxes (0, 4) and scores (0,)."""
    return np.zeros((0, 4)), np.zeros(0)
