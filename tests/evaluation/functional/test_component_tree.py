# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.evaluation.functional import component_tree
from mmfrac.evaluation.functional.component_tree import ring_tables, sort_descending
from mmfrac.evaluation.functional.froc import image_record
from tests.evaluation.slow_twins import false_positives, is_hit


def assert_equals_twin(prob_map, boxes, scale, connectivity):
    record = image_record(prob_map, boxes, scale, connectivity)
    thresholds = np.unique(prob_map[prob_map > 0]).astype(np.float64)
    expected = [false_positives(prob_map, boxes, scale, connectivity, t) for t in thresholds]
    np.testing.assert_array_equal(record.false_positives_at(thresholds), expected)
    # Compact: descending, and only where the count changes.
    assert (np.diff(record.thresholds) < 0).all()
    assert np.isin(record.thresholds, prob_map).all()
    assert (np.diff(record.false_positives.astype(int), prepend=0) != 0).all()
    for box, score in zip(boxes, record.lesion_scores):
        hits = [is_hit(prob_map, box, scale, t) for t in thresholds]
        np.testing.assert_array_equal(score >= thresholds, hits)


@st.composite
def films(draw):
    """Small maps of few levels, so that ties and plateaus abound; boxes on a half-cell grid."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    num_levels = draw(st.sampled_from([1, 2, 3, 5, 80]))
    levels = draw(
        st.lists(
            st.integers(-1 if draw(st.booleans()) else 0, num_levels),
            min_size=height * width,
            max_size=height * width,
        )
    )
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    prob_map = (np.array(levels).reshape(height, width) / num_levels).astype(dtype)
    scale = draw(st.sampled_from([(1.0, 1.0), (4.0, 4.0), (2.5, 0.75)]))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        xs = sorted(draw(st.integers(0, 2 * width)) / 2 * scale[0] for _ in range(2))
        ys = sorted(draw(st.integers(0, 2 * height)) / 2 * scale[1] for _ in range(2))
        boxes.append([xs[0], ys[0], xs[1], ys[1]])
    return prob_map, np.array(boxes).reshape(-1, 4), scale, draw(st.sampled_from([4, 8]))


@settings(max_examples=600, deadline=None)
@given(films())
def test_equals_slow_twin_on_small_maps(film):
    assert_equals_twin(*film)


@pytest.mark.slow
@pytest.mark.parametrize('connectivity', [4, 8])
@pytest.mark.parametrize('kind', ['noise', 'smooth', 'plateaus', 'mostly zero'])
@pytest.mark.parametrize('shape', [(40, 31), (1, 60), (60, 1)])
def test_equals_slow_twin_on_larger_maps(kind, shape, connectivity):
    rng = np.random.default_rng(len(kind) + sum(shape))
    prob_map = rng.random(shape, dtype=np.float32)
    if kind != 'noise':
        rows = np.linspace(0, 9, shape[0])[:, None]
        columns = np.linspace(0, 7, shape[1])[None]
        waves = np.sin(rows * 2 + columns) * np.cos(columns * 1.7 - rows) + 0.05 * prob_map
        prob_map = (1 / (1 + np.exp(-4 * waves))).astype(np.float32)
    if kind == 'plateaus':
        prob_map = np.round(prob_map * 8) / 8
    if kind == 'mostly zero':
        prob_map[prob_map < 0.8] = 0
    corners = rng.random((5, 2)) * shape[::-1] * 0.8
    boxes = np.hstack([corners, corners + 1 + rng.random((5, 2)) * shape[::-1] * 0.3])
    for some in (boxes, boxes[:0]):
        assert_equals_twin(prob_map, some, (1.0, 1.0), connectivity)


def test_a_slope_is_not_swept():
    # Of the rings (bit 0 north, clockwise) only those on one side of the cell make it an extreme.
    east_half = 0b00001110
    for connectivity in (4, 8):
        _, _, widens = ring_tables(connectivity)
        assert widens[east_half] and widens[0]
        assert not widens[east_half | 0b1 | 0b10000]
    rings = [0, 0b1, east_half, 0b10001, 0b10101010, 0b01010101]
    assert ring_tables(8).num_arcs[rings].tolist() == [0, 1, 1, 2, 4, 1]
    assert ring_tables(4).num_arcs[[0b10, 0b101, 0b111, 0b01010101]].tolist() == [0, 2, 1, 4]


def test_any_memory_layout_gives_the_same_record():
    prob_map = np.random.default_rng(0).random((24, 18)).astype(np.float32)
    boxes = [[2, 3, 9, 12]]
    expected = image_record(prob_map, boxes)
    spread = np.zeros((48, 36), np.float32)
    spread[::2, ::-2] = prob_map
    for same in (np.asfortranarray(prob_map), spread[::2, ::-2], prob_map.astype(np.float64)):
        record = image_record(same, boxes)
        np.testing.assert_array_equal(record.thresholds, expected.thresholds)
        np.testing.assert_array_equal(record.false_positives, expected.false_positives)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_sort_descending(dtype):
    rng = np.random.default_rng(0)
    for num in (0, 1, 2, 500, 5000):
        values = np.append((1 + rng.permutation(num)) / 7, 0).astype(dtype)
        rows = rng.integers(0, 99, (num + 1, 4)).astype(np.int32)
        sorted_values, sorted_rows = np.empty_like(values), np.empty_like(rows)
        keys = np.empty(num + 1, np.uint64)
        sort_descending(values, rows, keys, sorted_values, sorted_rows)
        order = np.argsort(-values, kind='stable')
        np.testing.assert_array_equal(sorted_values, values[order])
        np.testing.assert_array_equal(sorted_rows[:-1], rows[order][:-1])


@pytest.mark.parametrize('num_boxes', [63, 64, 65, 200])
def test_many_boxes(num_boxes):
    rng = np.random.default_rng(num_boxes)
    prob_map = rng.random((24, 30), dtype=np.float32)
    corners = np.floor(rng.random((num_boxes, 2)) * [30, 24])
    boxes = np.hstack([corners, corners + rng.integers(0, 3, (num_boxes, 2)) / 2])
    assert_equals_twin(prob_map, boxes, (1.0, 1.0), 8)


@given(films())
@settings(deadline=None)
def test_two_threads_equal_twin(film):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(component_tree, '_TWO_THREADS_FROM', 1)
        assert_equals_twin(*film)


def test_films_at_the_same_time_and_of_all_sizes():
    rng = np.random.default_rng(0)
    maps = [rng.random((size, 3 * size), dtype=np.float32) for size in (200, 7, 120, 300, 1) * 4]
    boxes = [[2, 3, 9, 12]]
    expected = [image_record(prob_map, boxes) for prob_map in maps]
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda prob_map: image_record(prob_map, boxes), maps))
    for record, alone in zip(records, expected):
        np.testing.assert_array_equal(record.thresholds, alone.thresholds)
        np.testing.assert_array_equal(record.false_positives, alone.false_positives)
