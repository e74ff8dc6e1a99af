# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The two lung fields of a frontal film: the dark basins between chest wall and mediastinum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

# Longest side of the film while lungs are sought, px, and the blurs that hide ribs and that
# show how bright the surroundings are.
_SEARCH_SIZE = 192
_SEARCH_BLUR = 2.5
_SURROUNDINGS_BLUR = 40.0
LEVELS = 160
_LEAST_RANGE = 1e-3
# Depths (shares of the film's range) at which basins are looked for.
_DEPTHS = (0.02, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4)
# The film's margin is open ground: frames of blackened or unexposed film are no walls.
MARGIN = 0.03
# What a lung is like: share of the film's area and height, share of its convex hull.
_AREA = (0.015, 0.25)
_LEAST_HEIGHT = 0.18
_LEAST_SOLIDITY = 0.75
# And two of them: smaller to larger, overlap (IoU) when mirrored, distance in film widths.
_LEAST_BALANCE = 0.3
_LEAST_MIRROR = 0.35
APART = (0.18, 0.65)


@dataclass(frozen=True)
class Lungs:
    """Lung fields of one film.

    Attributes:
        left, right (np.ndarray): Masks (h, w) bool on a small copy of the film; left in the film.
        scale (float): Film px per px of the masks.
    """

    left: np.ndarray
    right: np.ndarray
    scale: float

    @property
    def width(self) -> float:
        """From the outer edge of one lung to that of the other, film px."""
        columns = np.flatnonzero((self.left | self.right).any(axis=0))
        return float(columns[-1] - columns[0] + 1) * self.scale


def find_lungs(image: np.ndarray) -> Lungs | None:
    """Find both lungs.

    Lungs are basins: whoever walks from them to the film's edge has to climb the bright chest wall,
    which the dark air around the patient need not. Two basins are lungs when they lie beside each
    other, mirror each other roughly, and have the shape and size of lungs. Basins are sought in the
    film and in the film less its surroundings, at several depths; the largest and most alike pair
    is taken.

    Args:
        image (np.ndarray): Film (h, w) float32 in [0, 1], bright bone on dark lung.

    Returns:
        Lungs or None: None where both were not found (lateral films, white lungs, no chest).
    """
    scale = max(image.shape) / _SEARCH_SIZE
    height, width = (max(8, round(side / scale)) for side in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _SEARCH_BLUR, borderType=cv2.BORDER_REPLICATE)
    if np.ptp(small) < _LEAST_RANGE:
        return None
    flattened = small - cv2.GaussianBlur(small, (0, 0), _SURROUNDINGS_BLUR)
    pair = _pair([basin for surface in (small, flattened) for basin in _basins(surface)])
    return None if pair is None else Lungs(*pair, scale)


def basin_depth(surface: np.ndarray) -> np.ndarray:
    """How far each point lies below the lowest pass on the way to the border.

    Args:
        surface (np.ndarray): (h, w) in [0, 1].

    Returns:
        np.ndarray: (h, w) float32, a multiple of 1 / LEVELS; 0 where the way out only descends.
    """
    heights = np.floor(surface * (LEVELS - 1)).astype(np.int32)
    depth = np.zeros(surface.shape, np.float32)
    for level in range(LEVELS):
        low = heights <= level
        count, parts = cv2.connectedComponents(low.astype(np.uint8), connectivity=4)
        is_open = np.zeros(count, bool)
        for border in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
            is_open[border] = True
        depth[low & ~is_open[parts]] += 1 / LEVELS
    return depth


def _basins(surface: np.ndarray) -> list[np.ndarray]:
    """Masks (h, w) of lung-like basins at all depths, without holes and narrow clefts."""
    low, high = np.percentile(surface, [1, 99])
    surface = np.clip((surface - low) / max(high - low, _LEAST_RANGE), 0, 1)
    margin = round(MARGIN * _SEARCH_SIZE)
    surface[:margin] = surface[-margin:] = 0
    surface[:, :margin] = surface[:, -margin:] = 0
    depth = basin_depth(surface)
    basins = []
    for least in _DEPTHS:
        opened = cv2.morphologyEx((depth > least).astype(np.uint8), cv2.MORPH_OPEN, _disc(3))
        deep = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _disc(9))
        count, parts, stats, _ = cv2.connectedComponentsWithStats(deep, connectivity=4)
        areas = stats[:, cv2.CC_STAT_AREA] / deep.size
        sized = [parts == i for i in range(1, count) if _AREA[0] <= areas[i] <= _AREA[1]]
        basins += [mask for mask in sized if _is_upright(mask)]
    return basins


def _disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _is_upright(mask: np.ndarray) -> bool:
    """Whether a basin is taller than wide and nearly convex."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if tall < max(_LEAST_HEIGHT * len(mask), wide):
        return False
    hull = cv2.convexHull(np.argwhere(mask).astype(np.int32))
    return bool(mask.sum() >= _LEAST_SOLIDITY * cv2.contourArea(hull))


def _pair(basins: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """The two basins, left one first, that are the largest and most alike of those that can be lungs."""
    areas = [float(mask.sum()) for mask in basins]
    centres = [float(np.nonzero(mask)[1].mean()) for mask in basins]
    best, most = None, 0.0
    for one, other in combinations(range(len(basins)), 2):
        left, right = sorted((one, other), key=centres.__getitem__)
        smaller, larger = sorted((areas[left], areas[right]))
        apart = (centres[right] - centres[left]) / basins[left].shape[1]
        if smaller < _LEAST_BALANCE * larger or not APART[0] <= apart <= APART[1]:
            continue
        overlap = _mirrored_overlap(basins[left], basins[right], centres[left] + centres[right])
        if overlap >= _LEAST_MIRROR and smaller * overlap > most:
            best, most = (basins[left], basins[right]), smaller * overlap
    return best


def _mirrored_overlap(left: np.ndarray, right: np.ndarray, twice_middle: float) -> float:
    """Overlap (IoU) of one mask with the other's mirror image; 0 where they touch each other."""
    if (left & right).any():
        return 0.0
    width = left.shape[1]
    source = np.rint(twice_middle - np.arange(width)).astype(int).clip(-1, width) + 1
    mirrored = np.pad(left, ((0, 0), (1, 1)))[:, source]
    return float((mirrored & right).sum() / (mirrored | right).sum())
