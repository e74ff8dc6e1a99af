# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.semi_real import find_lungs
from mmfrac.preparation.semi_real.lungs import LEVELS, basin_depth
from tests.preparation.semi_real.chest_films import chest_film, films_without_lungs


def flooded(heights):
    """Slow twin: water rises from the border over the lowest passes (priority flood)."""
    level = np.full(heights.shape, -1)
    edge = np.ones(heights.shape, bool)
    edge[1:-1, 1:-1] = False
    queue = [(int(heights[r, c]), r, c) for r, c in np.argwhere(edge).tolist()]
    for height, r, c in queue:
        level[r, c] = height
    heapq.heapify(queue)
    while queue:
        height, r, c = heapq.heappop(queue)
        for y, x in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if 0 <= y < len(heights) and 0 <= x < len(heights[0]) and level[y, x] < 0:
                level[y, x] = max(height, heights[y, x])
                heapq.heappush(queue, (int(level[y, x]), y, x))
    return level


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(3, 9))
def test_basin_depth_is_that_of_a_flood(seed, height, width):
    heights = np.random.default_rng(seed).integers(0, LEVELS, (height, width))
    depth = basin_depth(heights / (LEVELS - 1) + 1e-9)
    np.testing.assert_allclose(depth * LEVELS, flooded(heights) - heights, atol=1e-3)


@pytest.mark.parametrize('patient', [1, 2, 3])
def test_lungs_of_a_phantom_lie_where_it_has_them(patient):
    plane = chest_film(patient)
    lungs = find_lungs(plane)
    dark = [plane[mask].mean() for mask in (lungs.left, lungs.right)]
    assert max(dark) < plane.mean()
    assert np.nonzero(lungs.left)[1].mean() < 96 < np.nonzero(lungs.right)[1].mean()
    assert 0.5 * 192 < lungs.width < 0.9 * 192


def test_lungs_scale_with_the_film():
    plane = chest_film(1)
    twice = find_lungs(np.kron(plane, np.ones((2, 2), np.float32)))
    assert twice.width == pytest.approx(2 * find_lungs(plane).width, rel=0.03)


@pytest.mark.parametrize('kind', list(films_without_lungs()))
def test_no_lungs(kind):
    assert find_lungs(films_without_lungs()[kind]) is None


def test_lungs_of_real_films(shared_data):
    films = sorted((shared_data / 'real_cxr' / 'images').glob('*.png'))
    assert len(films) == 20
    found = [find_lungs(read_radiograph(film)) for film in films]
    assert sum(lungs is not None for lungs in found) == 20
