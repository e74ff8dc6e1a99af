# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A film in any state between its file and the network, with what is annotated on it."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from mmfrac.utils.geometry import box_corners, project
from mmfrac.visualization.marks import Canvas
from mmfrac.visualization.overlay import GT_GREEN, grey_picture

BOX_YELLOW = (255, 210, 40)
TARGET_ORANGE = (255, 120, 0)
OUTSIDE_BLUE = (40, 110, 255)
_TARGET_ALPHA = 0.45
_OUTSIDE_ALPHA = 0.3


@dataclass
class FilmState:
    """What there is to see of a film.

    Attributes:
        plane (np.ndarray): (h, w), float in [0, 1].
        outlines (list[np.ndarray]): Lesions, moved along with the film: (n, 2) xy each, px of the
            plane.
        boxes (np.ndarray): MMDetection's ``gt_bboxes``, (n, 4) xyxy, px of the plane.
        target (np.ndarray, optional): Cells of the prob map target, (h', w') uint8.
        valid (np.ndarray, optional): Cells that lie on the film, (h', w') bool.
    """

    plane: np.ndarray
    outlines: list[np.ndarray] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    target: np.ndarray | None = None
    valid: np.ndarray | None = None


def film_state(results: dict) -> FilmState | None:
    """State of a film from what a transform returned.

    Args:
        results (dict): With ``img``, or packed with ``inputs`` and ``data_samples``.

    Returns:
        FilmState or None: None before the film is loaded.
    """
    if 'inputs' in results:
        sample = results['data_samples']
        plane = results['inputs'].numpy().transpose(1, 2, 0)
        info: Any = sample.metainfo
        boxes = sample.gt_instances.get('bboxes') if 'gt_instances' in sample else None
        target = valid = None
        if 'gt_prob_map' in sample:
            target = sample.gt_prob_map.prob_map.numpy()[0]
            valid = sample.gt_prob_map.valid.numpy()[0]
    elif 'img' in results:
        plane, info, boxes = results['img'], results, results.get('gt_bboxes')
        target, valid = results.get('gt_prob_map'), results.get('valid_map')
    else:
        return None
    homography = info.get('homography_matrix')
    moved = np.eye(3) if homography is None else homography
    outlines = [
        project(outline, moved)
        for instance in info.get('instances', ())
        if not instance.get('ignore_flag')
        for outline in _outlines(instance)
    ]
    return FilmState(_unit_plane(plane), outlines, _box_array(boxes), target, valid)


def draw_state(state: FilmState, size: int | None = None) -> np.ndarray:
    """Draw a film's state.

    Lesions are green, ``gt_bboxes`` dashed yellow, target cells orange, cells off the film blue.

    Args:
        state (FilmState): What to draw.
        size (int, optional): Longest side of the picture, px. Default: that of the film.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    zoom = 1.0 if size is None else size / max(state.plane.shape)
    picture = np.repeat(grey_picture(state.plane, zoom)[..., None], 3, axis=2)
    if state.valid is not None:
        picture = _tinted(picture, ~state.valid, OUTSIDE_BLUE, _OUTSIDE_ALPHA)
    if state.target is not None:
        picture = _tinted(picture, state.target > 0, TARGET_ORANGE, _TARGET_ALPHA)
    canvas = Canvas(picture, zoom)
    for box in state.boxes:
        canvas.box(box, BOX_YELLOW, width=1, dashed=True)
    for outline in state.outlines:
        canvas.polygon(outline, GT_GREEN, width=1)
    return canvas.picture()


def _outlines(instance: dict) -> list[np.ndarray]:
    corners = [box_corners(np.asarray(instance['bbox']))]
    polygons = [np.reshape(points, (-1, 2)) for points in instance.get('polygon', ())]
    return corners + polygons


def _unit_plane(pixels: np.ndarray) -> np.ndarray:
    """(h, w) or (h, w, c) of any scale to (h, w) in [0, 1]."""
    plane = pixels if pixels.ndim == 2 else pixels[..., 0]
    if plane.dtype == np.uint8:
        return plane / np.float32(255)
    low, high = float(plane.min()), float(plane.max())
    if low >= 0 and high <= 1:
        return plane
    # normalised for a network of another toolbox
    return (plane - low) / max(high - low, 1e-6)


def _box_array(boxes: Any) -> np.ndarray:
    if boxes is None:
        return np.zeros((0, 4))
    values = getattr(boxes, 'tensor', boxes)
    return np.asarray(values, np.float64).reshape(-1, 4)


def _tinted(
    picture: np.ndarray, cells: np.ndarray, colour: tuple[int, int, int], alpha: float
) -> np.ndarray:
    height, width = picture.shape[:2]
    where = cv2.resize(cells.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    mixed = (1 - alpha) * picture + alpha * np.array(colour)
    return np.where(where[..., None] > 0, mixed, picture).round().astype(np.uint8)
