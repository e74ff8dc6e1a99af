# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which cells of a map can change its component tree, and what may happen there.

See :mod:`component_tree` for the whole.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

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
