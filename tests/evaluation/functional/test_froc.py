# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.evaluation import froc
from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord


def film(thresholds=(), false_positives=(), lesion_scores=()):
    return ImageRecord(
        np.array(thresholds, np.float32),
        np.array(false_positives, np.uint8),
        np.array(lesion_scores, np.float32),
        0.0,
    )


def curve_of(fppi, recall, num_lesions=10):
    thresholds = np.append(np.inf, np.linspace(0.9, 0.1, len(fppi) - 1))
    return FrocCurve(thresholds, np.array(fppi, float), np.array(recall, float), 10, num_lesions)


# FPPI rises to 0.4, falls back to 0.1 (components have joined) and rises to 0.8.
BENT = curve_of([0, 0.2, 0.4, 0.1, 0.3, 0.8], [0, 0.2, 0.3, 0.5, 0.6, 0.9])


def test_hand_computed_curve():
    records = [film([0.9, 0.5], [1, 0], [0.75]), film([0.75, 0.25], [2, 3], [0.5, 0.0])]
    curve = froc.froc_curve(records)
    assert curve.thresholds.tolist() == [np.inf, np.float32(0.9), 0.75, 0.5, 0.25]
    assert curve.fppi.tolist() == [0, 0.5, 1.5, 1, 1.5]
    # The lesion of score 0 is never hit.
    np.testing.assert_allclose(curve.recall, [0, 0, 1 / 3, 2 / 3, 2 / 3])
    assert (curve.num_images, curve.num_lesions) == (2, 3)


def test_denominator_negatives_counts_on_films_without_lesions():
    records = [film([0.9], [7], [0.8]), film([0.7], [1]), film()]
    curve = froc.froc_curve(records, denominator='negatives')
    assert curve.thresholds.tolist() == pytest.approx([np.inf, 0.8, 0.7])
    assert curve.fppi.tolist() == [0, 0, 0.5]
    assert curve.recall.tolist() == [0, 1, 1]
    assert (curve.num_images, curve.num_lesions) == (2, 1)


def test_no_lesion_or_no_film_is_nan_with_a_warning():
    with pytest.warns(UserWarning, match='no lesion'):
        assert np.isnan(froc.recall_at(froc.froc_curve([film([0.5], [1])]), 0.1))
    with pytest.warns(UserWarning, match='no film'):
        assert np.isnan(froc.froc_score(froc.froc_curve([])))
    only_positive = froc.froc_curve([film([0.5], [1], [0.9])], denominator='negatives')
    with pytest.warns(UserWarning, match='no film'):
        assert np.isnan(froc.recall_at(only_positive, 0.1))


@st.composite
def several_films(draw):
    levels = [0.125, 0.25, 0.5, 0.75, 1.0]
    records = []
    for _ in range(draw(st.integers(1, 5))):
        thresholds = sorted(draw(st.sets(st.sampled_from(levels))), reverse=True)
        counts = [draw(st.integers(0, 300)) for _ in thresholds]
        lesions = draw(st.lists(st.sampled_from([0.0, *levels, 0.625]), max_size=3))
        dtype = draw(st.sampled_from([np.float32, np.float64]))
        counts = np.array(counts, np.min_scalar_type(max(counts, default=0)))
        records.append(
            ImageRecord(np.array(thresholds, dtype), counts, np.array(lesions, dtype), 0)
        )
    return records


@settings(max_examples=300, deadline=None)
@given(several_films(), st.sampled_from(['all', 'negatives']))
def test_curve_equals_slow_twin(records, denominator):
    curve = froc.froc_curve(records, denominator)
    counting = [r for r in records if denominator == 'all' or len(r.lesion_scores) == 0]
    scores = [score for r in records for score in r.lesion_scores]
    expected = [(np.inf, 0.0, 0.0)]
    for t in (1.0, 0.75, 0.625, 0.5, 0.25, 0.125):
        fppi = np.divide(sum(r.false_positives_at(t) for r in counting), len(counting) or np.nan)
        recall = np.divide(sum(score >= t for score in scores), len(scores) or np.nan)
        if not np.array_equal((fppi, recall), expected[-1][1:], equal_nan=True):
            expected.append((t, fppi, recall))
    if counting and scores:
        got = np.stack([curve.thresholds, curve.fppi, curve.recall], axis=1)
        np.testing.assert_array_equal(got, expected)
    assert np.isnan(curve.fppi).all() == (not counting)
    assert np.isnan(curve.recall).all() == (not scores)


def test_many_films():
    rng = np.random.default_rng(0)
    records = [
        film(np.sort(rng.random(40))[::-1], rng.integers(1, 9, 40), rng.random(i % 2))
        for i in range(3000)
    ]
    curve = froc.froc_curve(records)
    for i in rng.integers(1, curve.thresholds.size, 5):
        t = curve.thresholds[i]
        assert curve.fppi[i] == sum(r.false_positives_at(t) for r in records) / 3000
        assert curve.recall[i] == sum((r.lesion_scores >= t).sum() for r in records) / 1500


@pytest.mark.parametrize(
    ('crossing', 'interpolation', 'wanted', 'recall'),
    [
        ('first', 'linear', 0.0, 0.0),
        ('first', 'linear', 0.1, 0.1),
        ('first', 'linear', 0.2, 0.2),
        ('first', 'linear', 0.3, 0.25),
        # The running maximum stays at 0.4 while the recall climbs to 0.6.
        ('first', 'linear', 0.4, 0.6),
        ('first', 'linear', 0.6, 0.75),
        ('first', 'step', 0.1, 0.0),
        ('first', 'step', 0.3, 0.2),
        ('first', 'step', 0.4, 0.6),
        ('first', 'step', 0.79, 0.6),
        ('best', 'linear', 0.05, 0.05),
        ('best', 'linear', 0.1, 0.5),
        ('best', 'linear', 0.2, 0.55),
        ('best', 'linear', 0.3, 0.6),
        ('best', 'linear', 0.55, 0.75),
        ('best', 'step', 0.05, 0.0),
        ('best', 'step', 0.1, 0.5),
        ('best', 'step', 0.2, 0.5),
        ('best', 'step', 0.3, 0.6),
    ],
)
def test_recall_where_fppi_is_not_monotone(crossing, interpolation, wanted, recall):
    got = froc.recall_at(BENT, wanted, crossing, interpolation)
    assert got == pytest.approx(recall)
    assert not got.held


@pytest.mark.parametrize('crossing', ['first', 'best'])
@pytest.mark.parametrize('interpolation', ['linear', 'step'])
def test_past_its_end_the_curve_is_held(crossing, interpolation):
    at_end, past = froc.recall_at(BENT, [0.8, 0.81], crossing, interpolation)
    assert (at_end, at_end.held) == (0.9, False)
    assert (past, past.held) == (0.9, True)
    for same in (pickle.loads(pickle.dumps(past)), copy.deepcopy(past)):
        assert (same, same.held) == (0.9, True)
    # A curve that falls back after its highest FPPI has passed it all the same.
    assert not froc.recall_at(curve_of([0, 0.5, 0.2], [0, 0.4, 0.5]), 0.4, crossing).held


def test_recall_gained_at_one_fppi_counts_from_there_on():
    upright = curve_of([0, 0, 0.2, 0.2], [0, 0.3, 0.4, 0.8])
    assert froc.recall_at(upright, 0.0) == 0.3
    assert froc.recall_at(upright, 0.1) == pytest.approx(0.35)
    assert froc.recall_at(upright, 0.2) == 0.8


def test_froc_score_is_the_mean_recall():
    straight = curve_of([0, 1], [0, 1])
    score = froc.froc_score(straight)
    assert score == pytest.approx(0.3)
    assert not score.held
    # 0.2 / 0.3 and 0.6 for the rest, where the curve is held.
    short = froc.froc_score(curve_of([0, 0.15], [0, 0.6]))
    assert short == pytest.approx((0.4 + 4 * 0.6) / 5)
    assert short.held
    assert froc.froc_score(BENT, targets=[0.1, 0.3], crossing='best') == pytest.approx(0.55)


def test_unknown_options_name_the_valid_ones():
    with pytest.raises(ValueError, match='all'):
        froc.froc_curve([], denominator='positives')
    with pytest.raises(ValueError, match='first'):
        froc.recall_at(BENT, 0.1, crossing='last')
    with pytest.raises(ValueError, match='linear'):
        froc.froc_score(BENT, interpolation='cubic')
    for bad in (-0.1, float('nan'), [[0.1]]):
        with pytest.raises(ValueError, match='FPPI'):
            froc.recall_at(BENT, bad)
    for bad in ([], 0.1):
        with pytest.raises(ValueError, match='FPPI'):
            froc.froc_score(BENT, targets=bad)


labelled = st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 4)), max_size=12)


@settings(max_examples=300, deadline=None)
@given(labelled)
@pytest.mark.filterwarnings('ignore:AUROC is NaN')
def test_auroc_equals_the_count_of_pairs(films):
    pairs = [
        (a > b) + 0.5 * (a == b)
        for label_a, a in films
        if label_a == 1
        for label_b, b in films
        if label_b == 0
    ]
    got = froc.auroc([label for label, _ in films], [score / 4 for _, score in films])
    assert got == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)


def test_auroc_of_one_class_is_nan_with_a_warning():
    for labels in ([1, 1, -1], [0, 0, -1], [-1, -1, -1]):
        with pytest.warns(UserWarning, match='both classes'):
            assert np.isnan(froc.auroc(labels, [0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ('labels', 'scores', 'message'),
    [
        ([1, 0], [0.1], 'shapes'),
        ([[1, 0]], [[0.1, 0.2]], 'shapes'),
        ([1, 2], [0.1, 0.2], 'labels must be'),
        ([1, 0], [0.1, np.nan], 'score 1 is NaN'),
    ],
)
def test_auroc_rejects_bad_input(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        froc.auroc(labels, scores)
