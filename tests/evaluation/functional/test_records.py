# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.evaluation.functional.froc import box_record, image_record
from tests.evaluation.slow_twins import box_false_positives, is_hit_by_boxes

NO_BOXES = np.zeros((0, 4))


def test_two_diagonal_cells_are_one_component_of_eight_connectivity():
    prob_map = np.array([[0.9, 0.0], [0.0, 0.5]], np.float32)
    eight = image_record(prob_map, [])
    assert eight.thresholds.tolist() == [np.float32(0.9)]
    assert eight.false_positives.tolist() == [1]
    four = image_record(prob_map, NO_BOXES, connectivity=4)
    assert four.thresholds.tolist() == [np.float32(0.9), 0.5]
    assert four.false_positives.tolist() == [1, 2]


def test_hand_computed_film():
    # Peaks 0.9 and 0.8 join through 0.4; a third one of 0.6 stays alone.
    prob_map = np.array([[0.9, 0.4, 0.8, 0.0, 0.6]])
    record = image_record(prob_map, [])
    assert record.false_positives_at([0.95, 0.9, 0.8, 0.6, 0.4, 0.1]).tolist() == [0, 1, 2, 3, 2, 2]
    assert record.false_positives_at(0.5) == 3
    assert isinstance(record.false_positives_at(0.5), int)
    # The box holds the centre (0.5, 0.5) of the first peak, but after the join the centre is at
    # x = 1.5; the second box holds that one.
    first, joined = [0, 0, 1, 1], [1.2, 0, 1.8, 1]
    at = [0.9, 0.8, 0.6, 0.4]
    assert image_record(prob_map, [first]).false_positives_at(at).tolist() == [0, 1, 2, 2]
    assert image_record(prob_map, [joined]).false_positives_at(at).tolist() == [1, 2, 3, 1]
    assert image_record(prob_map, [first, joined]).false_positives_at(at).tolist() == [0, 1, 2, 1]


def test_several_components_in_one_box_are_no_false_positives():
    prob_map = np.array([[0.9, 0.0, 0.8, 0.0, 0.7]])
    record = image_record(prob_map, [[0, 0, 3, 1]])
    assert record.false_positives_at([0.9, 0.8, 0.7]).tolist() == [0, 0, 1]


def test_box_edges_are_inclusive_and_cells_are_scaled():
    prob_map = np.zeros((3, 4), np.float32)
    prob_map[1, 2] = 0.5
    # The cell covers [20, 30] x [5, 10]: centre (25, 7.5).
    for box, count in (
        ([25, 7.5, 40, 15], 0),
        ([0, 0, 25, 7.5], 0),
        ([25.01, 0, 40, 15], 1),
        ([0, 0, 40, 7.49], 1),
    ):
        assert image_record(prob_map, [box], (10.0, 5.0)).false_positives_at(0.5) == count


def test_lesion_cell_is_the_floor_of_the_midpoint_clipped_to_the_map():
    prob_map = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 16
    boxes = [
        [10, 5, 30, 9],  # midpoint (20, 7): column 2, row 1
        [9, 5, 30, 9],  # (19.5, 7): column 1
        [30, 20, 50, 30],  # (40, 25): on the far edge and beyond it, clipped to (3, 2)
        [-30, -8, 10, 4],  # (-10, -2): clipped to (0, 0)
    ]
    record = image_record(prob_map, boxes, (10.0, 5.0))
    assert (record.lesion_scores * 16).tolist() == [7, 6, 12, 1]
    assert record.image_score == 0.75


def test_a_plateau_counts_once():
    prob_map = np.full((6, 7), 0.5, np.float32)
    prob_map[2, 2] = prob_map[4, 5] = 0.7
    record = image_record(prob_map, [])
    assert record.thresholds.tolist() == [np.float32(0.7), 0.5]
    assert record.false_positives.tolist() == [2, 1]


def test_thresholds_are_greater_than_zero():
    record = image_record(np.array([[0.0, -1.0, -0.0]]), [[0, 0, 1, 1]])
    assert record.thresholds.size == record.false_positives.size == 0
    assert record.image_score == 0
    assert record.false_positives_at([0.1, 1.0]).tolist() == [0, 0]
    assert image_record(np.array([[3.0]]), []).false_positives_at(2.0) == 1
    for bad in (0, -0.1, float('nan'), [0.5, 0.0]):
        with pytest.raises(ValueError, match='> 0'):
            record.false_positives_at(bad)


def test_a_float64_threshold_is_not_rounded_to_the_map():
    # float32(0.1) > 0.1 > the next float32 below it.
    value = np.float32(0.1)
    below = np.nextafter(value, np.float32(0))
    assert image_record(np.full((1, 1), value), []).false_positives_at(0.1) == 1
    assert image_record(np.full((1, 1), below), []).false_positives_at(0.1) == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(prob_map=[[0.1, np.nan]]), 'film 7.*row 0, column 1'),
        (dict(prob_map=[[np.inf]]), 'film 7'),
        (dict(prob_map=[0.1]), r'\(h, w\)'),
        (dict(prob_map=np.zeros((0, 3))), 'empty'),
        (dict(prob_map=np.zeros((2, 2), complex)), 'real'),
        (dict(connectivity=6), 'connectivity'),
        (dict(scale=(1.0,)), 'scale'),
        (dict(scale=(1.0, 0.0)), 'scale'),
        (dict(gt_boxes=[[0, 0, 1]]), r'\(n, 4\)'),
        (dict(gt_boxes=[0, 0, 1, 1]), r'\(n, 4\)'),
        (dict(gt_boxes=[[0, 0, 1, 1], [0, 0, 1, np.nan]]), 'box 1'),
        (dict(gt_boxes=[[5, 0, 1, 1]]), 'box 0.*x1 <= x2'),
    ],
)
def test_bad_input_names_the_film_and_the_fault(arguments, message):
    with pytest.raises(ValueError, match=message):
        image_record(**{'prob_map': [[0.5]], 'gt_boxes': [], 'name': '7', **arguments})


def test_a_record_pickles_to_kilobytes():
    rows, columns = np.mgrid[0:256, 0:256] / 16
    waves = np.sin(rows) * np.cos(columns) + np.sin(0.7 * columns + 0.3 * rows)
    prob_map = (1 / (1 + np.exp(2 - 2 * waves))).astype(np.float32)
    record = image_record(prob_map, [[30, 30, 60, 70]], name='a')
    assert record.thresholds.dtype == np.float32
    assert record.false_positives.dtype == np.uint8
    assert record.false_positives.size > 20
    data = pickle.dumps(record)
    assert len(data) < 4096
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.thresholds, record.thresholds)
    np.testing.assert_array_equal(copy.false_positives, record.false_positives)
    np.testing.assert_array_equal(copy.lesion_scores, record.lesion_scores)
    assert copy.image_score == record.image_score


def test_hand_computed_boxes():
    gt_boxes = [[0, 0, 10, 10], [20, 20, 30, 30]]
    boxes = [
        [5, 5, 9, 9],  # holds the midpoint (5, 5) of the first on its corner; centre inside
        [4, 4, 40, 40],  # holds both midpoints; its centre (22, 22) lies in the second
        [0, 0, 30, 30],  # holds both midpoints; its centre (15, 15) in neither
        [50, 50, 60, 60],
        [50, 50, 60, 60],
    ]
    record = box_record(boxes, [0.5, 0.4, 0.6, 0.6, 0.0], gt_boxes)
    assert record.lesion_scores.tolist() == [0.6, 0.6]
    assert record.thresholds.tolist() == [0.6]
    assert record.false_positives.tolist() == [2]
    assert record.image_score == 0.6
    assert box_record(boxes[:2], [0.5, 0.4], gt_boxes).lesion_scores.tolist() == [0.5, 0.4]


def test_no_boxes():
    record = box_record(NO_BOXES, [], [[0, 0, 10, 10]])
    assert record.lesion_scores.tolist() == [0]
    assert record.image_score == 0
    assert record.false_positives_at(0.1) == 0
    assert box_record([[0, 0, 1, 1]], [0.3], []).lesion_scores.shape == (0,)


@pytest.mark.parametrize(
    ('boxes', 'scores', 'message'),
    [
        ([[0, 0, 1, 1]], [0.1, 0.2], 'scores'),
        ([[0, 0, 1, 1]], [np.nan], 'scores of film 7'),
        ([[0, 0, np.inf, 1]], [0.5], '^boxes of film 7'),
    ],
)
def test_bad_boxes(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        box_record(boxes, scores, [], name='7')


corners = st.tuples(*[st.integers(0, 8)] * 4)
several_boxes = st.lists(corners, max_size=6).map(
    lambda rows: np.array(
        [[min(a, b), min(c, d), max(a, b), max(c, d)] for a, b, c, d in rows], float
    ).reshape(-1, 4)
)


@settings(max_examples=300, deadline=None)
@given(several_boxes, several_boxes, st.data())
def test_box_record_equals_slow_twin(boxes, gt_boxes, data):
    levels = st.integers(0, 4).map(lambda level: level / 4)
    scores = np.array(data.draw(st.lists(levels, min_size=len(boxes), max_size=len(boxes))))
    record = box_record(boxes, scores, gt_boxes)
    for t in (0.125, 0.25, 0.5, 0.6, 0.75, 1.0, 1.1):
        assert record.false_positives_at(t) == box_false_positives(boxes, scores, gt_boxes, t)
        hits = [is_hit_by_boxes(boxes, scores, gt, t) for gt in gt_boxes]
        assert (record.lesion_scores >= t).tolist() == hits


def test_what_lies_in_an_ignored_box_is_no_false_positive_of_a_map():
    # peaks at columns 0, 2 and 4 of one row, joined by nothing; cells of 10 x 10 px
    prob_map = np.array([[0.9, 0.0, 0.8, 0.0, 0.7]])
    at = [0.9, 0.8, 0.7]
    ignored = [[20, 0, 25, 5]]  # holds the centre (25, 5) of the second on its corner
    record = image_record(prob_map, [[0, 0, 10, 10]], (10.0, 10.0), ignore_boxes=ignored)
    assert record.false_positives_at(at).tolist() == [0, 0, 1]
    # an ignored box is no lesion
    assert record.lesion_scores.tolist() == [0.9]
    beside = [[20, 0, 24.9, 5]]
    record = image_record(prob_map, [[0, 0, 10, 10]], (10.0, 10.0), ignore_boxes=beside)
    assert record.false_positives_at(at).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match='ignore_boxes of film 7'):
        image_record(prob_map, [], ignore_boxes=[[1, 0, 0, 1]], name='7')


def test_what_lies_in_an_ignored_box_is_no_false_positive_of_a_detector():
    boxes = [[0, 0, 10, 10], [40, 40, 44, 44], [41, 41, 43, 43], [80, 80, 90, 90]]
    scores = [0.9, 0.8, 0.7, 0.6]
    lesions, ignored = [[2, 2, 8, 8]], [[42, 42, 60, 60]]
    record = box_record(boxes, scores, lesions, ignore_boxes=ignored)
    # centres (42, 42) of the second and third lie on the corner of the ignored box
    assert record.thresholds.tolist() == [0.6] and record.false_positives.tolist() == [1]
    assert record.lesion_scores.tolist() == [0.9]
    alone = box_record(boxes, scores, lesions)
    assert alone.thresholds.tolist() == [0.8, 0.7, 0.6]
    # a lesion in an ignored box is a lesion still
    both = box_record([[41, 41, 43, 43]], [0.7], [[41, 41, 44, 44]], ignore_boxes=[[0, 0, 99, 99]])
    assert both.lesion_scores.tolist() == [0.7] and not both.false_positives.size
