# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The metric against one written from its definition alone, which shares no code with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmfrac.evaluation import froc
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_auroc,
    bootstrap_recalls,
    interval,
    patient_weights,
)
from tests.evaluation.slow_twins import (
    box_false_positives,
    false_positives,
    is_hit,
    is_hit_by_boxes,
)


class SlowMap:
    def __init__(self, prob_map, gt_boxes):
        self.prob_map, self.gt_boxes = prob_map, gt_boxes
        self.values = {float(value) for value in prob_map.ravel() if value > 0}

    def count(self, t):
        hits = sum(bool(is_hit(self.prob_map, box, (1, 1), t)) for box in self.gt_boxes)
        return false_positives(self.prob_map, self.gt_boxes, (1, 1), 8, t), hits


class SlowBoxes:
    def __init__(self, boxes, scores, gt_boxes):
        self.boxes, self.scores, self.gt_boxes = boxes, scores, gt_boxes
        self.values = {float(score) for score in scores if score > 0}

    def count(self, t):
        hits = sum(is_hit_by_boxes(self.boxes, self.scores, box, t) for box in self.gt_boxes)
        return box_false_positives(self.boxes, self.scores, self.gt_boxes, t), hits


def slow_points(films, negatives_only):
    """(FPPI, recall) at every value of any film, from none kept downwards."""
    num_lesions = sum(len(film.gt_boxes) for film in films)
    counting = [film for film in films if not (negatives_only and len(film.gt_boxes))]
    points = [(0.0, 0.0)]
    for t in sorted(set().union(*(film.values for film in films)), reverse=True):
        fp = sum(film.count(t)[0] for film in counting)
        points.append((fp / len(counting), sum(film.count(t)[1] for film in films) / num_lesions))
    return points


def slow_recall(points, wanted, crossing, interpolation):
    best, (last_x, last_y), passed = 0.0, points[0], False
    highest = 0.0
    for x, y in points:
        if crossing == 'first':
            highest = x = max(highest, x)
        if x <= wanted and not passed:
            best = max(best, y)
        elif last_x <= wanted < x and not passed:
            if interpolation == 'linear':
                best = max(best, last_y + (wanted - last_x) / (x - last_x) * (y - last_y))
            passed = crossing == 'first'
        last_x, last_y = x, y
    return best


corners = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda c: [min(c[0], c[1]), min(c[2], c[3]), max(c[0], c[1]), max(c[2], c[3])]
)
lesions = st.lists(corners, max_size=2)
levels = st.integers(0, 4).map(lambda level: level / 4)


def as_boxes(rows):
    return np.array(rows, float).reshape(-1, 4)


@st.composite
def map_film(draw):
    cells = draw(st.lists(levels, min_size=30, max_size=30))
    boxes = as_boxes(draw(lesions))
    prob_map = np.array(cells).reshape(5, 6)
    return SlowMap(prob_map, boxes), froc.image_record(prob_map, boxes)


@st.composite
def box_film(draw):
    boxes, gt_boxes = as_boxes(draw(st.lists(corners, max_size=4))), as_boxes(draw(lesions))
    scores = np.array(draw(st.lists(levels, min_size=len(boxes), max_size=len(boxes))))
    return SlowBoxes(boxes, scores, gt_boxes), froc.box_record(boxes, scores, gt_boxes)


WANTED = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 3.0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(map_film(), box_film()), min_size=1, max_size=4),
    st.sampled_from(['all', 'negatives']),
    st.sampled_from(['first', 'best']),
    st.sampled_from(['linear', 'step']),
)
@pytest.mark.filterwarnings('ignore:recall is NaN')
def test_equals_slow_metric(films, denominator, crossing, interpolation):
    slow, records = zip(*films)
    curve = froc.froc_curve(records, denominator)
    recalls = froc.recall_at(curve, WANTED, crossing, interpolation)
    score = froc.froc_score(curve, WANTED[1:4], crossing, interpolation)
    counts = denominator == 'all' or any(not len(film.gt_boxes) for film in slow)
    if not counts or not any(len(film.gt_boxes) for film in slow):
        assert np.isnan(recalls).all() and np.isnan(score)
        return
    points = slow_points(slow, denominator == 'negatives')
    expected = [slow_recall(points, x, crossing, interpolation) for x in WANTED]
    np.testing.assert_allclose(recalls, expected, rtol=0, atol=1e-12)
    assert score == pytest.approx(np.mean(expected[1:4]))
    assert [recall.held for recall in recalls] == [
        x > max(fppi for fppi, _ in points) for x in WANTED
    ]


@pytest.mark.slow
def test_bootstrap_interval_equals_a_slow_loop():
    rng = np.random.default_rng(5)
    slow, records, labels = [], [], []
    for film in range(12):
        prob_map = np.round(rng.random((5, 6)) ** 4, 2)
        boxes = as_boxes([[1, 1, 3, 3], [4, 2, 5, 4]][: film % 3])
        slow.append(SlowMap(prob_map, boxes))
        records.append(froc.image_record(prob_map, boxes))
        labels.append(int(film % 3 > 0))
    scores = np.array([max(film.values) for film in slow])
    patients = ['b', 'b', 'a', 'c', 'c', 'c', 'd', 'e', 'f', 'f', 'g', 'h']
    weights = patient_weights(patients, 40, seed=11)
    drawn = bootstrap_recalls(records, weights, [0.5, 2.0])
    areas = bootstrap_auroc(labels, scores, weights)

    # the same numbers, drawn and counted film by film
    names = sorted(set(patients))
    numbers = np.random.default_rng(11).integers(len(names), size=(40, len(names)))
    slow_recalls, slow_areas = [], []
    for row in numbers:
        chosen = [film for number in row for film in range(12) if patients[film] == names[number]]
        points = slow_points([slow[film] for film in chosen], False)
        slow_recalls.append([slow_recall(points, x, 'first', 'linear') for x in (0.5, 2.0)])
        slow_areas.append(roc_auc_score([labels[f] for f in chosen], scores[chosen]))
    for column in range(2):
        low, high = np.quantile(np.array(slow_recalls)[:, column], [0.025, 0.975])
        assert interval(drawn[:, column]) == pytest.approx((low, high))
    assert interval(areas, 0.9) == pytest.approx(np.quantile(slow_areas, [0.05, 0.95]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_auroc_equals_scikit_learn(rows):
    labels, scores = [int(label) for label, _ in rows], [score / 6 for _, score in rows]
    if len(set(labels)) == 2:
        assert froc.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
