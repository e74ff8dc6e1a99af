# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A film with what is annotated on it, and nothing else."""

from collections.abc import Sequence

import numpy as np

from mmfrac.visualization.marks import Canvas, Colour
from mmfrac.visualization.overlay import GT_GREEN, grey_picture


def draw_annotated(
    plane: np.ndarray,
    boxes: np.ndarray | Sequence = (),
    polygons: Sequence[np.ndarray] = (),
    size: int | None = None,
    box_colour: Colour = GT_GREEN,
    polygon_colour: Colour = GT_GREEN,
    texts: Sequence[str] = (),
) -> np.ndarray:
    """Draw boxes and outlines on a film.

    Args:
        plane (np.ndarray): Film (h, w), float in [0, 1].
        boxes (np.ndarray): (n, 4) xyxy, px of the plane. Default: none.
        polygons (Sequence[np.ndarray]): (k, 2) xy each, px of the plane. Default: none.
        size (int, optional): Longest side of the picture, px. Default: that of the plane.
        box_colour, polygon_colour (tuple): RGB. Default: green.
        texts (Sequence[str]): One for each box. Default: none.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    zoom = 1.0 if size is None else size / max(plane.shape)
    canvas = Canvas(np.repeat(grey_picture(plane, zoom)[..., None], 3, axis=2), zoom)
    for polygon in polygons:
        canvas.polygon(polygon, polygon_colour, width=2)
    for index, box in enumerate(np.asarray(boxes, np.float64).reshape(-1, 4)):
        canvas.box(box, box_colour, width=2, text=texts[index] if texts else '')
    return canvas.picture()
