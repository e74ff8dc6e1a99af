# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Prob maps and image scores as arrays: cells of an image, components as boxes, calibrated scores.

It needs numpy and OpenCV alone.
"""

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike


def whole_cells(side: float, factor: float, stride: int) -> int:
    """Cells of a map that an image reaches into along one side.

    Args:
        side (float): Of the image, px.
        factor (float): px of the network's input for each of them.
        stride (int): px of the input for each cell.
    """
    # a side of whole cells is one, whatever it was rounded to
    return math.ceil(side * factor / stride - 1e-6)


def component_boxes(
    prob_map: np.ndarray,
    scale: tuple[float, float],
    image_shape: tuple[int, int],
    component_thr: float = 0.2,
    max_per_img: int = 100,
    connectivity: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Components of a thresholded prob map as boxes.

    Args:
        prob_map (np.ndarray): ``(h, w)`` float32 in [0, 1].
        scale (tuple): px of the image a cell, in x and y.
        image_shape (tuple): ``(H, W)`` px; boxes are clipped to it.
        component_thr (float): Cells with at least this probability belong. Defaults to 0.2.
        max_per_img (int): Boxes that are kept, highest score first. Defaults to 100.
        connectivity (int): Neighbours of a cell, 8 or 4. Defaults to 8.

    Returns:
        tuple[np.ndarray, np.ndarray]: Boxes ``(n, 4)`` xyxy px and scores ``(n,)``, the maxima of the
        components, both float32.
    """
    mask = (prob_map >= component_thr).astype(np.uint8)
    count, cells, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    x, y, w, h = (stats[1:, i] for i in range(4))
    boxes = np.stack([x, y, x + w, y + h], axis=1) * np.tile(np.asarray(scale, np.float32), 2)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, image_shape[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, image_shape[0])
    scores = np.zeros(count, np.float32)
    inside = mask.astype(bool)
    np.maximum.at(scores, cells[inside], prob_map[inside])
    scores = scores[1:]
    order = np.argsort(-scores, kind='stable')[:max_per_img]
    return boxes[order].astype(np.float32), scores[order]


def width_bins(scores: np.ndarray, num_bins: int) -> np.ndarray:
    """Bins of equal width in which scores lie, for calibration errors.

    Args:
        scores (np.ndarray): Scores in [0, 1], any shape.
        num_bins (int): b.

    Returns:
        np.ndarray: k of (k / b, (k + 1) / b], in the shape of ``scores``; 0 lies in the first.
    """
    return np.searchsorted(np.arange(1, num_bins) / num_bins, scores, side='left')


def apply_temperature(scores: ArrayLike, temperature: float) -> np.ndarray:
    """Scores sigmoid(logit(score) / T); their order, and so AUROC and FROC, stays.

    Args:
        scores (ArrayLike): Scores in [0, 1], any shape.
        temperature (float): T > 0.

    Returns:
        np.ndarray: float64, the shape of ``scores``.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f'a temperature must be positive, got {temperature}')
    return sigmoid(logits_of_scores(np.asarray(scores, np.float64)) / temperature)


def logits_of_scores(scores: np.ndarray) -> np.ndarray:
    """Logits of scores in [0, 1], all finite."""
    # a float32 sigmoid rounds to 0 and 1, whose logits are infinite
    tiny = float(np.finfo(np.float32).eps) / 2
    clipped = scores.clip(tiny, 1 - tiny)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in the precision of its argument."""
    with np.errstate(over='ignore'):
        return 1 / (1 + np.exp(-logits))
