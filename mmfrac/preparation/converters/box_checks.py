# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Boxes and polygons as annotators left them: what is wrong, and what is mere rounding."""

import math
from typing import Any

from mmfrac.datasets.annotation_checks import BOX_TOLERANCE


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(v) in (int, float) and math.isfinite(v) for v in values
    )


def _outside(points: list[float], limits: tuple[int, int]) -> bool:
    return any(
        v < -BOX_TOLERANCE or v > limits[i % 2] + BOX_TOLERANCE for i, v in enumerate(points)
    )


def box_fault(box: Any, limits: tuple[int, int]) -> str | None:
    """What is wrong with a box, None if nothing is; 1 px beyond the film passes.

    Args:
        box (Any): Should be [x1, y1, x2, y2], px.
        limits (tuple[int, int]): Width and height of the film, px.
    """
    if not _numbers(box) or len(box) != 4:
        return f'a box is four numbers [x1, y1, x2, y2] (px), got {box!r}'
    if _outside(box, limits):
        return f'box {box} lies outside its film of {limits[0]} x {limits[1]} px'
    x1, y1, x2, y2 = clip_points(box, limits)
    if x2 <= x1 or y2 <= y1:
        return f'box {box} (x1, y1, x2, y2) has no positive size'
    return None


def polygon_fault(points: Any, limits: tuple[int, int]) -> str | None:
    """What is wrong with a polygon, None if nothing is; 1 px beyond the film passes.

    Args:
        points (Any): Should be [x1, y1, x2, y2, x3, y3, ...], px.
        limits (tuple[int, int]): Width and height of the film, px.
    """
    if not _numbers(points) or len(points) < 6:
        return 'a polygon is a list of at least three points [x, y] (px)'
    if _outside(points, limits):
        return f'its polygon lies outside the film of {limits[0]} x {limits[1]} px'
    return None


def flat_polygon(polygon: Any) -> list | None:
    """[[x, y], ...] to [x, y, ...]; None if it is anything else."""
    if not isinstance(polygon, list) or not all(
        isinstance(p, list) and len(p) == 2 for p in polygon
    ):
        return None
    return [v for point in polygon for v in point]


def clip_points(points: list[float], limits: tuple[int, int]) -> list[float]:
    """[x, y, ...] moved onto the film of ``limits`` (width, height, px)."""
    return [min(max(v, 0), limits[i % 2]) for i, v in enumerate(points)]
