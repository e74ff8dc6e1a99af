# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where a film and its lesions lie on the map grid.

Coordinates are continuous: cell or pixel ``i`` covers ``[i, i + 1]`` and its centre is ``i + 0.5``.
"""

import numpy as np

# of an edge, in cells
_ROUNDING = 1e-3


def box_corners(box: np.ndarray) -> np.ndarray:
    """Four corners of an axis-aligned box.

    Args:
        box (array): ``(4,)`` xyxy in px.

    Returns:
        np.ndarray: ``(4, 2)`` xy, going round the box.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def project(points: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Apply a homography to points.

    Args:
        points (np.ndarray): ``(n, 2)`` xy.
        homography (np.ndarray): ``(3, 3)``.

    Returns:
        np.ndarray: ``(n, 2)`` xy.
    """
    moved = np.c_[points, np.ones(len(points))] @ np.asarray(homography, dtype=np.float64).T
    return moved[:, :2] / moved[:, 2:]


def rasterise_convex(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cells of a grid whose centre lies in a convex polygon, edges included.

    Args:
        corners (np.ndarray): ``(n, 2)`` xy in cells, going round the polygon either way.
        shape (tuple): ``(h, w)`` of the grid.

    Returns:
        np.ndarray: ``(h, w)`` bool.
    """
    h, w = shape
    mask = np.zeros(shape, dtype=bool)
    low = np.floor(corners.min(axis=0)).astype(int)
    high = np.ceil(corners.max(axis=0)).astype(int)
    c0, r0 = max(low[0], 0), max(low[1], 0)
    c1, r1 = min(high[0], w), min(high[1], h)
    if c0 >= c1 or r0 >= r1:
        return mask
    x = np.arange(c0, c1) + 0.5
    y = (np.arange(r0, r1) + 0.5)[:, None]
    following = np.roll(corners, -1, axis=0)
    area = np.sum(corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1])
    if abs(area) < 1e-9:
        return mask
    inside = np.ones((r1 - r0, c1 - c0), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, following):
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        inside &= (side if area >= 0 else -side) >= -1e-6
    mask[r0:r1, c0:c1] = inside
    return mask


def image_mask(
    ori_shape: tuple[int, int], homography: np.ndarray, shape: tuple[int, int], stride: int
) -> np.ndarray:
    """Map cells that lie on the film, padding and what rotation brought in excluded.

    Of an upright film (resized, flipped, padded, cropped) those that it reaches into, which are the ones
    that prediction gives (``whole_cells``); of any other those whose centre lies on it.

    Args:
        ori_shape (tuple): ``(h, w)`` of the film in its own px.
        homography (np.ndarray): ``(3, 3)`` from film px to network input px.
        shape (tuple): ``(h, w)`` of the map.
        stride (int): Input px per map cell.

    Returns:
        np.ndarray: ``(h, w)`` bool.
    """
    corners = project(box_corners(np.array([0, 0, ori_shape[1], ori_shape[0]])), homography)
    corners = corners / stride
    # what a turn by 180 degrees leaves there moves no corner
    tilt = np.abs(np.asarray(homography)[[0, 1, 2, 2], [1, 0, 0, 1]])
    if np.any(tilt * max(ori_shape) > _ROUNDING):
        return rasterise_convex(corners, shape)
    # homographies are recorded in float32
    low = np.floor(corners.min(axis=0) + _ROUNDING).clip(0).astype(int)
    high = np.ceil(corners.max(axis=0) - _ROUNDING).clip(0).astype(int)
    mask = np.zeros(shape, dtype=bool)
    mask[low[1] : high[1], low[0] : high[0]] = True
    return mask
