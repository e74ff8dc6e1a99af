# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""False positives at every threshold of a map from one pass over its cells (a component tree)."""

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


def num_threads() -> int:
    """Cores that this process may use; ``OMP_NUM_THREADS`` bounds them, as it does in torch."""
    has_affinity = hasattr(os, 'sched_getaffinity')
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    wanted = os.environ.get('OMP_NUM_THREADS', '')
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores


@contextmanager
def parallel_map(num_arguments: int) -> Iterator[Map]:
    """A ``map`` that runs in threads where there are cores for it.

    The threads end with the context, so that nothing is left for a process that is forked later.

    Args:
        num_arguments (int): Calls at a time; 1 makes no thread.

    Yields:
        Callable: ``(function, arguments) -> results``; the first call is made by this thread.
    """
    others = min(num_threads(), num_arguments) - 1
    if others < 1:
        yield lambda function, arguments: [function(argument) for argument in arguments]
        return
    with ThreadPoolExecutor(others) as pool:

        def run(function: Callable, arguments: Sequence) -> list:
            futures = [pool.submit(function, argument) for argument in arguments[1:]]
            return [function(arguments[0]), *(future.result() for future in futures)]

        yield run


class ScratchArrays:
    """Named scratch arrays that keep their memory between calls.

    Fresh pages cost a quarter of the time of a large map. What is held are the pages of the largest map
    so far, about 60 bytes a cell at worst.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: int | tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An array with arbitrary content; an earlier one of the same name is overwritten.

        Args:
            name (str): Which of the arrays.
            shape (int | tuple[int, ...]): Its shape.
            dtype (DTypeLike): Its type.

        Returns:
            np.ndarray: C-contiguous.
        """
        shape = (shape,) if isinstance(shape, int) else shape
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, np.uint8)
        return buffer[:size].view(dtype).reshape(shape)


_of_threads = threading.local()


def own_scratch() -> ScratchArrays:
    """The scratch arrays of the calling thread; its helpers may use them too, under other names."""
    if not hasattr(_of_threads, 'scratch'):
        _of_threads.scratch = ScratchArrays()
    return _of_threads.scratch


def sort_descending(
    values: np.ndarray,
    rows: np.ndarray,
    keys: np.ndarray,
    sorted_values: np.ndarray,
    sorted_rows: np.ndarray,
) -> None:
    """Sort rows by a positive value, largest first.

    Positive floats order like their bit patterns: with its row's number behind it, a float32 makes one
    64-bit integer, which NumPy sorts with vector instructions.

    Args:
        values (np.ndarray): (n,) float32 or float64, >= 0.
        rows (np.ndarray): (n, 4) int32.
        keys (np.ndarray): (n,) uint64, scratch.
        sorted_values (np.ndarray): (n,), filled in.
        sorted_rows (np.ndarray): (n, 4), filled in.
    """
    if values.dtype == np.float32:
        _join(values.view(np.uint32), keys)
        keys.sort()
    else:
        keys[:] = np.argsort(values)
    _take(values, rows, keys, sorted_values, sorted_rows)


@njit(cache=True, nogil=True)
def _join(patterns, keys):
    for i in range(patterns.size):
        keys[i] = np.uint64(patterns[i]) << np.uint64(32) | np.uint64(i)


@njit(cache=True, nogil=True)
def _take(values, rows, keys, sorted_values, sorted_rows):
    for i in range(keys.size):
        row = np.uint32(keys[keys.size - 1 - i])
        sorted_values[i] = values[row]
        for k in range(4):
            sorted_rows[i, k] = rows[row, k]


# (row, column) step to each neighbour, clockwise from north. A ring is a bit set of neighbours.
_RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


class _RingTables(NamedTuple):
    """What each of the 256 rings of higher neighbours says about its cell."""

    num_arcs: np.ndarray  # (256,) int32, 0 for a peak
    arc_steps: np.ndarray  # (256, 4, 2) int32, (row, column) step to one neighbour of each arc
    widens: np.ndarray  # (256,) bool, the cell may widen the rectangle


@lru_cache(maxsize=2)
def ring_tables(connectivity: int) -> _RingTables:
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


@njit(cache=True, nogil=True)
def survey_rows(padded, start, stop, num_arcs, arc_steps, swept_rings, rings, uphill, cells):
    """Fill in rings, uphill pointers (a peak's is ``-1 - its number``) and cells to sweep."""
    width = padded.shape[1]
    num_cells = num_peaks = 0
    for r in range(start, stop):
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


@njit(cache=True, nogil=True)
def number_on(cells, uphill, first_peak):
    """Let the numbers of the peaks among ``cells`` begin at ``first_peak``."""
    for cell in cells:
        if uphill[cell] < 0:
            uphill[cell] -= first_peak


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def list_events(padded, cells, rings, uphill, num_arcs, arc_steps, widens, values, events):
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
        low (np.ndarray): (n,) lower edges of the boxes, image pixels.
        high (np.ndarray): (n,) upper edges.
        size (int): Cells of the map along the axis.
        scale (float): Image pixels per cell.

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
    prob_map: np.ndarray, boxes: np.ndarray, scale: tuple[float, float], connectivity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the false-positive components of {P >= t} for every t > 0.

    Args:
        prob_map (np.ndarray): (h, w) finite floats, float32 or float64, any strides.
        boxes (np.ndarray): (n, 4) float64 xyxy, image pixels, edges inclusive, in which nothing is a
            false positive: lesions and ignored ones.
        scale (tuple[float, float]): Image pixels per map cell, (sx, sy).
        connectivity (int): 4 or 8.

    Returns:
        tuple[np.ndarray, np.ndarray]: The values t > 0, descending, at which the count changes, in
        the type of the map, and the count from each of them down to the next.
    """
    height, width = prob_map.shape
    array, dtype = own_scratch().array, prob_map.dtype
    padded = array('padded', (height + 2, width + 2), dtype)
    padded[[0, -1]] = padded[:, [0, -1]] = -np.inf
    padded[1:-1, 1:-1] = prob_map
    num_arcs, ring_steps, widens = ring_tables(connectivity)
    arc_steps = (ring_steps @ np.array([width + 2, 1])).astype(np.int32)
    if not len(boxes):
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
        _boxes_at_centres(boxes[:, 0], boxes[:, 2], width, float(scale[0])),
        _boxes_at_centres(boxes[:, 1], boxes[:, 3], height, float(scale[1])),
        thresholds,
        counts,
    )
    return thresholds[:num_published].copy(), counts[:num_published].copy()
