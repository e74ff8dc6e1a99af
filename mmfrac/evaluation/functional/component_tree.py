# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""False-positive components of {P >= t} for every threshold t, in one pass.

This is the textbook component tree (union-find over the cells in descending order) that leaves out
the cells which cannot change anything. Cells are ranked by (value, raster index), so that no two
cells tie. Look at those neighbours of a cell that rank higher:

- there is none: the cell is a peak, a component is born;
- they form two or more separate arcs: the cell is a saddle, it may join components;
- all of them lie strictly to one side: the cell may widen its component's rectangle;
- otherwise the cell joins one component whose rectangle already covers it: nothing happens.

Only the first three kinds are sorted and swept. A large map is surveyed and sorted as an upper and a
lower half, in two threads; one sweep takes the events of both in turn. Climbing from any cell over
ever higher neighbours ends at a peak that is in the same component from the cell's value downwards,
so a component is a set of peaks.
"""

import numpy as np
from numba import njit

from mmfrac.evaluation.functional.event_sort import sort_descending
from mmfrac.evaluation.functional.threads import parallel_map
from mmfrac.evaluation.functional.tree_events import (
    list_events,
    number_on,
    ring_tables,
    survey_rows,
)
from mmfrac.evaluation.functional.workspace import own_workspace

# Cells of a map from which on a second thread pays.
_TWO_THREADS_FROM = 2**18


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


def _boxes_at_centres(low: np.ndarray, high: np.ndarray, size: int, scale: float) -> np.ndarray:
    """Bit sets of the boxes that hold each possible centre of a rectangle, along one axis.

    A rectangle from cell ``c0`` to ``c1`` has its centre at ``(c0 + c1 + 1) / 2 * scale``.

    Args:
        low (np.ndarray): (n,) lower edges of the boxes, film pixels.
        high (np.ndarray): (n,) upper edges.
        size (int): Cells of the map along the axis.
        scale (float): Film pixels per cell.

    Returns:
        np.ndarray: (2 * size, words) uint64, indexed by ``c0 + c1 + 1``.
    """
    centres = (np.arange(2 * size) / 2 * scale)[:, None]
    inside = (low <= centres) & (centres <= high)
    padding = np.zeros((2 * size, 64 - low.size % 64), np.bool_)
    return np.packbits(np.hstack([inside, padding]), axis=1).view(np.uint64)


@njit(cache=True)
def _is_in_a_box(rectangles, root, boxes_at_x, boxes_at_y):
    x = rectangles[root, 0] - rectangles[root, 1] + 1
    y = rectangles[root, 2] - rectangles[root, 3] + 1
    shared = np.uint64(0)
    for word in range(boxes_at_x.shape[1]):
        shared |= boxes_at_x[x, word] & boxes_at_y[y, word]
    return shared != 0


@njit(cache=True)
def _sweep(
    upper_values,
    upper_events,
    lower_values,
    lower_events,
    parents,
    rectangles,
    counted,
    touched,
    boxes_at_x,
    boxes_at_y,
    thresholds,
    counts,
):
    """Descend through two sorted lists of events; publish a count where a group of equals ends.

    The values of both lists end with a 0.
    """
    parents[:] = -1  # of a root: minus its number of peaks
    # Minima of (column, -column, row, -row) over a component's cells.
    rectangles[:] = np.iinfo(np.int32).max
    counted[:] = False  # whether a root is counted as false positive
    num_touched = count = num_published = published = 0
    i = j = 0  # next event of the upper and of the lower half
    value = max(upper_values[0], lower_values[0])
    while value > 0:
        if upper_values[i] == value:
            peak, joined = upper_events[i, 0], upper_events[i, 1]
            column, row = upper_events[i, 2], upper_events[i, 3]
            i += 1
        else:
            peak, joined = lower_events[j, 0], lower_events[j, 1]
            column, row = lower_events[j, 2], lower_events[j, 3]
            j += 1
        root = _root(parents, peak)
        changed = False
        if joined != peak and parents[joined] != root:
            other = _root(parents, joined)
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
        left, right = rectangles[root, 0], rectangles[root, 1]
        top, bottom = rectangles[root, 2], rectangles[root, 3]
        # Here and below sums in place of branches, as in the survey.
        changed |= (column < left) | (-column < right) | (row < top) | (-row < bottom)
        rectangles[root, 0] = min(left, column)
        rectangles[root, 1] = min(right, -column)
        rectangles[root, 2] = min(top, row)
        rectangles[root, 3] = min(bottom, -row)
        touched[num_touched] = root
        num_touched += int(changed)
        next_value = max(upper_values[i], lower_values[j])
        if next_value == value:
            continue
        for k in range(num_touched):
            root = _root(parents, touched[k])
            is_counted = not _is_in_a_box(rectangles, root, boxes_at_x, boxes_at_y)
            count += int(is_counted) - int(counted[root])
            counted[root] = is_counted
        num_touched = 0
        thresholds[num_published] = value
        counts[num_published] = count
        num_published += int(count != published)
        published = count
        value = next_value
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
    array, dtype = own_workspace().array, prob_map.dtype
    padded = array('padded', (height + 2, width + 2), dtype)
    padded[[0, -1]] = padded[:, [0, -1]] = -np.inf
    padded[1:-1, 1:-1] = prob_map
    num_arcs, ring_steps, widens = ring_tables(connectivity)
    arc_steps = (ring_steps @ np.array([width + 2, 1])).astype(np.int32)
    if not len(gt_boxes):
        widens = num_arcs == 0  # Without boxes every component counts, whatever its rectangle.
    swept_rings = widens | (num_arcs > 1)
    rings = array('rings', padded.shape, np.uint8)
    rings[[0, -1]] = rings[:, [0, -1]] = 0
    uphill = array('uphill', padded.size, np.int32)
    cells = array('cells', padded.size, np.int32)

    def survey(rows: range) -> tuple[np.ndarray, int]:
        room = cells[rows.start * (width + 2) : rows.stop * (width + 2)]
        num_cells, num_peaks = survey_rows(
            padded, rows.start, rows.stop, num_arcs, arc_steps, swept_rings, rings, uphill, room
        )
        return room[:num_cells], num_peaks

    def list_and_sort(swept: np.ndarray, half: str) -> tuple[np.ndarray, np.ndarray]:
        if not swept.size:
            return np.zeros(1, dtype), np.zeros((1, 4), np.int32)
        size = 4 * swept.size + 1
        values = array(f'{half}_values', size, dtype)
        events = array(f'{half}_events', (size, 4), np.int32)
        n = 1 + list_events(
            padded, swept, rings, uphill, num_arcs, arc_steps, widens, values, events
        )
        values[n - 1] = 0  # the sweep's end: all others are > 0
        sorted_values = array(f'{half}_sorted_values', n, dtype)
        sorted_events = array(f'{half}_sorted_events', (n, 4), np.int32)
        keys = array(f'{half}_keys', n, np.uint64)
        sort_descending(values[:n], events[:n], keys, sorted_values, sorted_events)
        return sorted_values, sorted_events

    in_halves = prob_map.size >= _TWO_THREADS_FROM
    middle = 1 + (height // 2 if in_halves else height)  # otherwise the lower half is empty
    with parallel_map(2 if in_halves else 1) as run:
        halves = run(survey, [range(1, middle), range(middle, height + 1)])
        (upper, num_upper), (lower, num_lower) = halves
        number_on(lower, uphill, num_upper)
        num_peaks = num_upper + num_lower
        halves = run(lambda half: list_and_sort(*half), [(upper, 'upper'), (lower, 'lower')])
        (upper_values, upper_events), (lower_values, lower_events) = halves
    num_events = upper_values.size + lower_values.size
    thresholds = array('thresholds', num_events, dtype)
    counts = array('counts', num_events, np.int32)
    num_published = _sweep(
        upper_values,
        upper_events,
        lower_values,
        lower_events,
        array('parents', num_peaks, np.int32),
        array('rectangles', (num_peaks, 4), np.int32),
        array('counted', num_peaks, np.bool_),
        array('touched', num_events, np.int32),
        _boxes_at_centres(gt_boxes[:, 0], gt_boxes[:, 2], width, float(scale[0])),
        _boxes_at_centres(gt_boxes[:, 1], gt_boxes[:, 3], height, float(scale[1])),
        thresholds,
        counts,
    )
    return thresholds[:num_published].copy(), counts[:num_published].copy()
