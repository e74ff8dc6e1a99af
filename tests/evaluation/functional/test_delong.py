# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mmfrac.evaluation import froc
from mmfrac.evaluation.functional.bootstrap import bootstrap_auroc, patient_weights
from mmfrac.evaluation.functional.roc import delong, delong_interval, delong_test


def psi(positive, negative):
    return (positive > negative) + 0.5 * (positive == negative)


def slow_covariance(labels, scores, patients):
    """Obuchowski's sums over pairs of films, pair by pair."""
    positives = [i for i, label in enumerate(labels) if label == 1]
    negatives = [i for i, label in enumerate(labels) if label == 0]
    m, n = len(positives), len(negatives)
    areas, above, below = [], [], []
    for values in scores:
        areas.append(sum(psi(values[i], values[j]) for i in positives for j in negatives) / m / n)
        above.append({i: sum(psi(values[i], values[j]) for j in negatives) / n for i in positives})
        below.append({j: sum(psi(values[i], values[j]) for i in positives) / m for j in negatives})
    people = sorted({patients[i] for i in positives + negatives})
    have_positive = len({patients[i] for i in positives})
    have_negative = len({patients[j] for j in negatives})

    def sums(parts, model):
        return [
            sum(value - areas[model] for i, value in parts[model].items() if patients[i] == person)
            for person in people
        ]

    covariance = np.zeros((len(scores), len(scores)))
    for r in range(len(scores)):
        for s in range(len(scores)):
            x_r, x_s, y_r, y_s = (
                sums(above, r),
                sums(above, s),
                sums(below, r),
                sums(below, s),
            )
            s10 = have_positive / ((have_positive - 1) * m) * np.dot(x_r, x_s)
            s01 = have_negative / ((have_negative - 1) * n) * np.dot(y_r, y_s)
            s11 = len(people) / (len(people) - 1) * (np.dot(x_r, y_s) + np.dot(y_r, x_s))
            covariance[r, s] = s10 / m + s01 / n + s11 / (m * n)
    return np.array(areas), covariance


films = st.lists(
    st.tuples(st.sampled_from([0, 1, -1]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 6)),
    max_size=14,
)


@settings(max_examples=200, deadline=None)
@given(films, st.booleans())
def test_equals_slow_twin(extra, is_clustered):
    rows = [(1, 3, 1, 0), (1, 4, 2, 1), (0, 2, 2, 2), (0, 1, 0, 3), *extra]
    labels, first, second, patients = map(np.array, zip(*rows))
    scores = np.stack([first, second]) / 5
    own = patients if is_clustered else np.arange(len(rows))
    found = delong(labels, scores, patients if is_clustered else None)
    areas, covariance = slow_covariance(labels, scores, own)
    np.testing.assert_allclose(found.aurocs, areas, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    for values, area in zip(scores, found.aurocs):
        assert area == pytest.approx(froc.auroc(labels, values))


def test_by_hand():
    # Pairs won: 0.9 beats both, 0.4 beats one of two: AUROC 3/4.
    # Placements 1, 1/2 of the positives and 1/2, 1 of the negatives: variance 1/8 / 2 + 1/8 / 2.
    found = delong([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1])
    assert found.aurocs.tolist() == [0.75]
    assert found.covariance[0, 0] == pytest.approx(1 / 8)
    # the other model ranks all rightly, without variance
    test = delong_test([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], [0.9, 0.4, 0.5, 0.1])
    assert test.difference == 0.25
    assert test.p_value == pytest.approx(2 * norm.sf(0.25 / np.sqrt(1 / 8)))
    assert test.high - test.difference == pytest.approx(1.959964 * np.sqrt(1 / 8), rel=1e-6)


def test_models_that_rank_alike_do_not_differ():
    scores = np.random.default_rng(0).random(30)
    test = delong_test([0, 1, 1] * 10, scores, scores**3)
    assert test == (0, 0, 0, 1)


def test_variance_is_that_of_the_bootstrap():
    rng = np.random.default_rng(1)
    patients = np.arange(400) // 2
    labels = rng.integers(0, 2, 400)
    # films of a patient resemble each other, so that patients, not films, carry the information
    of_patient = np.repeat(rng.normal(size=200), 2)
    scores = labels + of_patient + 0.5 * rng.normal(size=400)
    variance = delong(labels, scores, patients).covariance[0, 0]
    drawn = bootstrap_auroc(labels, scores, patient_weights(patients, 4000, seed=0))
    assert variance == pytest.approx(drawn.var(), rel=0.1)
    low, high = delong_interval(labels, scores, patients=patients)
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.005)


@pytest.mark.parametrize('num_patients', range(2, 60))
def test_a_variance_of_zero_may_be_rounded(num_patients):
    # the positive film of each patient just above its negative one
    labels = np.tile([0, 1], num_patients)
    patients = np.repeat(np.arange(num_patients), 2)
    low, high = delong_interval(labels, np.arange(2 * num_patients), patients=patients)
    assert low == pytest.approx(high) == pytest.approx((num_patients + 1) / (2 * num_patients))


def test_interval_stays_within_bounds():
    assert delong_interval([1, 0], [1.0, 0.0]) == (1, 1)
    low, high = delong_interval([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.5, 0.2, 0.1])
    assert 0 < low < 8 / 9 < high < 1


def test_what_cannot_be_measured_is_nan():
    found = delong([1, 1, -1], [[0.1, 0.2, 0.3]])
    assert np.isnan(found.aurocs).all() and np.isnan(found.covariance).all()
    assert np.isnan(delong([1, 0], [0.2, 0.1]).covariance).all()


@pytest.mark.parametrize(
    ('labels', 'scores', 'patients', 'message'),
    [
        ([1, 0], [0.1], None, 'must be'),
        ([1, 2], [0.1, 0.2], None, 'labels must be'),
        ([1, 0], [0.1, np.nan], None, 'NaN'),
        ([1, 0], [0.1, 0.2], ['a'], '1 patients for 2 films'),
    ],
)
def test_bad_input(labels, scores, patients, message):
    with pytest.raises(ValueError, match=message):
        delong(labels, scores, patients)
