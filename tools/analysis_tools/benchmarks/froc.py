# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The exact FROC record of a map beside 100 thresholds with OpenCV."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from mmfrac.evaluation.functional.froc import image_record

from .pairing import Comparison, compare

GOAL = 15.0
THRESHOLDS = np.linspace(0.01, 1, 100)


def measure(
    repeats: int = 5, sizes: Sequence[int] = (256, 1024), thresholds: np.ndarray = THRESHOLDS
) -> Iterator[Comparison]:
    """Speed of ``image_record`` with 5 boxes, against ``cv2.connectedComponentsWithStats``.

    Args:
        repeats (int): Pairs a case. Defaults to 5.
        sizes (Sequence[int]): Edges of the maps in cells. Defaults to (256, 1024).
        thresholds (np.ndarray): Of the bare way. Defaults to 0.01, 0.02, ..., 1.

    Yields:
        Comparison: A case for each size, kind of map and number of OpenCV threads.
    """
    makers: Sequence[Callable[[int], np.ndarray]] = (smooth, noise, mostly_zero)
    default_threads = cv2.getNumThreads()
    try:
        for size in sizes:
            boxes = _boxes(size)
            for make in makers:
                prob_map = make(size)
                for threads in sorted({1, default_threads}):
                    cv2.setNumThreads(threads)
                    yield compare(
                        'froc',
                        f'{size} x {size} {make.__name__}, cv2 threads {threads}',
                        lambda prob_map=prob_map, boxes=boxes: image_record(prob_map, boxes),
                        lambda prob_map=prob_map: cut_at(prob_map, thresholds),
                        repeats,
                        GOAL,
                        at_least=True,
                        ours_calls=5,
                    )
    finally:
        cv2.setNumThreads(default_threads)


def cut_at(prob_map: np.ndarray, thresholds: np.ndarray) -> None:
    """The 8-connected components of a map (h, w) at every threshold."""
    for threshold in thresholds:
        mask = (prob_map >= threshold).astype(np.uint8)
        cv2.connectedComponentsWithStats(mask, connectivity=8)


def smooth(size: int) -> np.ndarray:
    """A map as a network gives it: a smooth field with five hot spots, (size, size) float32."""
    rng = np.random.default_rng(0)
    grid = max(8, size // 16)
    logits = np.full((size, size), -4, np.float32)
    for cells, amplitude in ((grid, 1.0), (2 * grid, 0.3)):
        field = rng.normal(size=(cells, cells)).astype(np.float32)
        logits += amplitude * cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(5):
        row, column = rng.uniform(0.1, 0.9, 2) * size
        width = rng.uniform(0.01, 0.04) * size
        distance = (rows - row) ** 2 + (columns - column) ** 2
        logits += rng.uniform(3, 9) * np.exp(-distance / (2 * width**2))
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def noise(size: int) -> np.ndarray:
    """Uniform noise, (size, size) float32: as many components as a map can have."""
    return np.random.default_rng(0).random((size, size), dtype=np.float32)


def mostly_zero(size: int) -> np.ndarray:
    """The smooth map with all cells below 0.3 set to 0, (size, size) float32."""
    prob_map = smooth(size)
    return np.where(prob_map > 0.3, prob_map, np.float32(0))


def _boxes(size: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 0.9 * size, (5, 2))
    return np.hstack([corners, corners + rng.uniform(0.03, 0.1, (5, 2)) * size])
