# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""False-positive components of {P >= t} for every threshold t, in one pass.

This is the textbook component tree (union-find over the cells in descending order) that leaves out
the cells which cannot change anything. Cells are ranked by (value, raster index), so that no two
cells tie. Look at those neighbours of a cell that rank higher:

- there is none: the cell is a peak, a component is born;
- they form two or more separate arcs: the cell is a saddle, it may join components;
- all of them lie strictly to one side: the cell may widen its component's rectangle;
- otherwise the cell joins one component whose rectangle already covers it: nothing happens.

Only the first three kinds are sorted and swept. Climbing from any cell over ever higher neighbours
ends at a peak that is in the same component from the cell's value downwards, so a component is a set
of peaks.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from .radix_sort import sort_descending

# (row, column) step to each neighbour, clockwise from north. A ring is a bit set of neighbours.
_RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


class _RingTables(NamedTuple):
    """What each of the 256 rings of higher neighbours says about its cell."""

    num_arcs: np.ndarray  # (256,) int32, 0 for a peak
    arc_steps: np.ndarray  # (256, 4, 2) int32, (row, column) step to one neighbour of each arc
    widens: np.ndarray  # (256,) bool, the cell may widen the rectangle


@lru_cache(maxsize=2)
def _ring_tables(connectivity: int) -> _RingTables:
    def connected(step) -> bool:
        return max(map(abs, step)) == 1 and (connectivity == 8 or 0 in step)

    def adjacent(a: int, b: int) -> bool:
        return connected((_RING[a][0] - _RING[b][0], _RING[a][1] - _RING[b][1]))

    neighbours = {k for k in range(8) if connected(_RING[k])}
    covers = [
        {k for k in neighbours if _RING[k][axis] != -side}
        for axis, side in itertools.product((0, 1), (-1, 1))
    ]
    num_arcs = np.zeros(256, np.int32)
    arc_steps = np.zeros((256, 4, 2), np.int32)
    widens = np.zeros(256, np.bool_)
    for ring in range(256):
        rest = {k for k in range(8) if ring >> k & 1}
        widens[ring] = not all(rest & cover for cover in covers)
        while rest:
            arc = {min(rest)}
            while grown := {k for k in rest - arc if any(adjacent(k, j) for j in arc)}:
                arc |= grown
            rest -= arc
            # With 4-connectivity a lone corner is no neighbour; it only links two sides.
            if arc & neighbours:
                arc_steps[ring, num_arcs[ring]] = _RING[min(arc & neighbours)]
                num_arcs[ring] += 1
    return _RingTables(num_arcs, arc_steps, widens)


@njit(cache=True)
def _survey(padded, num_arcs, arc_steps, swept_rings, rings, uphill, cells):
    """Fill in rings, uphill pointers (a peak's is ``-1 - its number``) and cells to sweep."""
    height, width = padded.shape
    num_cells = num_peaks = 0
    for r in range(1, height - 1):
        # Slices in place of column +- 1 keep index checks out of the loop, so that it vectorises.
        n, here, s = padded[r - 1, 1:-1], padded[r, 1:-1], padded[r + 1, 1:-1]
        nw, w, sw = padded[r - 1, :-2], padded[r, :-2], padded[r + 1, :-2]
        ne, e, se = padded[r - 1, 2:], padded[r, 2:], padded[r + 1, 2:]
        ring = rings[r, 1:-1]
        for c in range(width - 2):
            value = here[c]
            # Of two equal cells the later one in raster order ranks higher.
            ring[c] = (
                np.uint8(n[c] > value)
                | np.uint8(ne[c] > value) << 1
                | np.uint8(e[c] >= value) << 2
                | np.uint8(se[c] >= value) << 3
                | np.uint8(s[c] >= value) << 4
                | np.uint8(sw[c] >= value) << 5
                | np.uint8(w[c] > value) << 6
                | np.uint8(nw[c] > value) << 7
            )
        # Sums in place of branches: on noise a branch a cell costs several times as much.
        for c in range(width - 2):
            cell = r * width + c + 1
            in_a_mask = here[c] > 0
            is_peak = in_a_mask & (num_arcs[ring[c]] == 0)
            uphill[cell] = -1 - num_peaks if is_peak else cell + arc_steps[ring[c], 0]
            num_peaks += is_peak
            cells[num_cells] = cell
            num_cells += in_a_mask & swept_rings[ring[c]]
    return num_cells, num_peaks


@njit(cache=True)
def _climb(uphill, cell):
    """Number of a peak above ``cell``; halves the path on the way."""
    above = uphill[cell]
    while above >= 0:
        if uphill[above] < 0:
            return -1 - uphill[above]
        uphill[cell] = uphill[above]
        cell = uphill[above]
        above = uphill[cell]
    return -1 - above


@njit(cache=True)
def _list_events(padded, cells, rings, uphill, num_arcs, arc_steps, widens, values, events):
    """Fill in (peak, peak to join or the same, column, row) of what may happen at ``cells``."""
    flat, flat_rings, width = padded.ravel(), rings.ravel(), padded.shape[1]
    n = row = 0
    for cell in cells:
        while cell >= (row + 2) * width:
            row += 1
        ring = flat_rings[cell]
        peak = _climb(uphill, cell)
        for arc in range(max(1, num_arcs[ring])):
            other = peak if arc == 0 else _climb(uphill, cell + arc_steps[ring, arc])
            if other != peak or (arc == 0 and widens[ring]):
                values[n] = flat[cell]
                events[n, 0] = peak
                events[n, 1] = other
                events[n, 2] = cell - (row + 1) * width - 1
                events[n, 3] = row
                n += 1
    return n


@njit(cache=True)
def _root(parents, peak):
    above = parents[peak]
    while above >= 0:
        if parents[above] < 0:
            return above
        parents[peak] = parents[above]
        peak = parents[above]
        above = parents[peak]
    return peak


@njit(cache=True)
def _is_false_positive(rectangle, gt_boxes, sx, sy):
    x = (rectangle[0] - rectangle[1] + 1) / 2 * sx
    y = (rectangle[2] - rectangle[3] + 1) / 2 * sy
    is_in_a_box = False
    for x1, y1, x2, y2 in gt_boxes:
        is_in_a_box |= x1 <= x <= x2 and y1 <= y <= y2
    return not is_in_a_box


@njit(cache=True)
def _sweep(values, events, num_peaks, gt_boxes, sx, sy, thresholds, counts):
    """Descend through the sorted events; publish the count where a group of equal values ends."""
    parents = np.full(num_peaks, -1, np.int32)  # of a root: minus its number of peaks
    # Minima of (column, -column, row, -row) over a component's cells.
    rectangles = np.full((num_peaks, 4), np.iinfo(np.int32).max, np.int32)
    counted = np.zeros(num_peaks, np.bool_)  # roots that are counted as false positives
    touched = np.empty(values.size, np.int32)
    num_touched = count = num_published = published = 0
    for i in range(values.size):
        root = _root(parents, events[i, 0])
        changed = False
        if events[i, 1] != events[i, 0]:
            other = _root(parents, events[i, 1])
            if other != root:
                if parents[other] < parents[root]:
                    root, other = other, root
                parents[root] += parents[other]
                parents[other] = root
                for k in range(4):
                    rectangles[root, k] = min(rectangles[root, k], rectangles[other, k])
                count -= int(counted[root]) + int(counted[other])
                counted[root] = False
                changed = True
        column, row, rectangle = events[i, 2], events[i, 3], rectangles[root]
        if (
            column < rectangle[0]
            or -column < rectangle[1]
            or row < rectangle[2]
            or -row < rectangle[3]
        ):
            rectangle[0] = min(rectangle[0], column)
            rectangle[1] = min(rectangle[1], -column)
            rectangle[2] = min(rectangle[2], row)
            rectangle[3] = min(rectangle[3], -row)
            changed = True
        if changed:
            touched[num_touched] = root
            num_touched += 1
        if i + 1 < values.size and values[i + 1] == values[i]:
            continue
        for peak in touched[:num_touched]:
            root = _root(parents, peak)
            is_counted = _is_false_positive(rectangles[root], gt_boxes, sx, sy)
            count += int(is_counted) - int(counted[root])
            counted[root] = is_counted
        num_touched = 0
        if count != published:
            thresholds[num_published] = values[i]
            counts[num_published] = count
            published = count
            num_published += 1
    return num_published


def false_positive_counts(
    prob_map: np.ndarray, gt_boxes: np.ndarray, scale: tuple[float, float], connectivity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the false-positive components of {P >= t} for every t > 0.

    Args:
        prob_map (np.ndarray): (h, w) finite floats, float32 or float64, any strides.
        gt_boxes (np.ndarray): (n, 4) float64 xyxy, film pixels, edges inclusive.
        scale (tuple[float, float]): Film pixels per map cell, (sx, sy).
        connectivity (int): 4 or 8.

    Returns:
        tuple[np.ndarray, np.ndarray]: The values t > 0, descending, at which the count changes, in
        the type of the map, and the count from each of them down to the next.
    """
    height, width = prob_map.shape
    padded = np.full((height + 2, width + 2), -np.inf, prob_map.dtype)
    padded[1:-1, 1:-1] = prob_map
    num_arcs, ring_steps, widens = _ring_tables(connectivity)
    arc_steps = (ring_steps @ np.array([width + 2, 1])).astype(np.int32)
    if not len(gt_boxes):
        widens = num_arcs == 0  # Without boxes every component counts, whatever its rectangle.

    # NumPy asks for huge pages where numba does not; on noise page faults were a quarter of the time.
    rings = np.zeros(padded.shape, np.uint8)
    uphill, cells = np.empty((2, padded.size), np.int32)
    swept_rings = widens | (num_arcs > 1)
    num_cells, num_peaks = _survey(padded, num_arcs, arc_steps, swept_rings, rings, uphill, cells)
    cells = cells[:num_cells]
    values = np.empty(4 * num_cells, padded.dtype)
    events = np.empty((4 * num_cells, 4), np.int32)
    num_events = _list_events(
        padded, cells, rings, uphill, num_arcs, arc_steps, widens, values, events
    )
    keys = values[:num_events].view(f'u{values.itemsize}')
    keys, events = sort_descending(keys, events[:num_events])
    values = keys.view(values.dtype)
    thresholds, counts = np.empty_like(values), np.empty(num_events, np.int32)
    num_published = _sweep(
        values, events, num_peaks, gt_boxes, float(scale[0]), float(scale[1]), thresholds, counts
    )
    return thresholds[:num_published].copy(), counts[:num_published].copy()
