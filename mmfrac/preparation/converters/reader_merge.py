# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Boxes of several readers of one film become one reading."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MERGE = ('any', 'majority', 'all')
FUSE = ('mean', 'union')


def readers_needed(merge: str, readers: int) -> int:
    """How many of the film's readers must agree.

    Args:
        merge (str): 'any', 'majority' (more than half) or 'all'.
        readers (int): Readers of the film.

    Raises:
        ValueError: If ``merge`` is none of these.
    """
    if merge not in MERGE:
        raise ValueError(f'merge {merge!r} is none of {list(MERGE)}')
    return {'any': 1, 'majority': readers // 2 + 1, 'all': readers}[merge]


def merge_boxes(
    boxes: Sequence[Sequence[float]],
    readers: Sequence[str],
    needed: int,
    iou: float = 0.4,
    fuse: str = 'mean',
) -> list[list[float]]:
    """One box for each lesion that enough readers marked.

    Boxes that overlap by at least ``iou`` are one lesion, and so are those linked through others; the
    order of the boxes does not matter.

    Args:
        boxes (Sequence[Sequence[float]]): (n, 4) xyxy, px.
        readers (Sequence[str]): (n) who drew each.
        needed (int): Readers that must have marked a lesion.
        iou (float): Intersection over union from which boxes are one lesion. Default: 0.4.
        fuse (str): 'mean' of the corners, or 'union', the rectangle around all. Default: 'mean'.

    Returns:
        list[list[float]]: (m, 4) xyxy, px, sorted.

    Raises:
        ValueError: If ``fuse`` is none of these, or ``iou`` not in (0, 1].
    """
    if fuse not in FUSE or not 0 < iou <= 1:
        raise ValueError(f'fuse is one of {list(FUSE)} and iou in (0, 1], got {fuse!r}, {iou}')
    if not len(boxes):
        return []
    array = np.asarray(boxes, np.float64)
    low = np.maximum(array[:, None, :2], array[None, :, :2])
    high = np.minimum(array[:, None, 2:], array[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(array[:, 2:] - array[:, :2], axis=1)
    overlaps = shared / (areas[:, None] + areas[None] - shared) >= iou
    count, lesions = connected_components(coo_array(overlaps), directed=False)
    names = np.asarray(readers)
    fused = []
    for lesion in range(count):
        mine = array[lesions == lesion]
        if len(set(names[lesions == lesion])) < needed:
            continue
        if fuse == 'mean':
            # not by the order of the boxes: sums of floats depend on it
            box = np.sort(mine, axis=0).mean(axis=0)
        else:
            box = np.concatenate([mine[:, :2].min(axis=0), mine[:, 2:].max(axis=0)])
        fused.append([round(float(value), 2) for value in box])
    return sorted(fused)
