# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import warnings

import numpy as np
import pytest

from mmfrac.evaluation.functional import bootstrap, froc
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_auroc,
    bootstrap_recalls,
    interval,
    patient_weights,
)

FPPI = (0.1, 0.5, 1.0, 2.5)


@pytest.fixture(scope='module')
def films():
    rng = np.random.default_rng(3)
    records, labels = [], []
    for film in range(30):
        prob_map = np.round(rng.random((9, 11)) ** 3, 2)
        boxes = [] if film % 3 else [[1, 1, 4, 5], [6, 3, 9, 8]][: 1 + film % 2]
        records.append(froc.image_record(prob_map, np.reshape(boxes, (-1, 4))))
        labels.append(-1 if film == 7 else int(bool(boxes)))
    patients = [f'p{film // 2}' for film in range(30)]
    return records, np.array(labels), np.array([r.image_score for r in records]), patients


@pytest.mark.parametrize('denominator', ['all', 'negatives'])
@pytest.mark.parametrize('crossing', ['first', 'best'])
@pytest.mark.parametrize('interpolation', ['linear', 'step'])
def test_a_replicate_is_the_metric_of_the_repeated_films(
    films, denominator, crossing, interpolation
):
    records, _, _, patients = films
    weights = patient_weights(patients, 12, seed=1)
    weights[0] = 1
    recalls = bootstrap_recalls(records, weights, FPPI, denominator, crossing, interpolation)
    for row, replicate in zip(recalls, weights):
        repeated = [record for record, n in zip(records, replicate) for _ in range(n)]
        curve = froc.froc_curve(repeated, denominator)
        expected = froc.recall_at(curve, FPPI, crossing, interpolation)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('denominator', ['all', 'negatives'])
@pytest.mark.parametrize('fppi', [(0.1,), FPPI, (1000.0, 0.5)])
def test_what_is_looked_at_first_does_not_matter(films, denominator, fppi, monkeypatch):
    records, _, _, patients = films
    weights = patient_weights(patients, 30, seed=4)
    expected = bootstrap_recalls(records, weights, fppi, denominator)
    assert max(record.thresholds.size for record in records) > 16
    for depth in (1, 2, 16):
        monkeypatch.setattr(bootstrap, '_FIRST_DEPTH', depth)
        found = bootstrap_recalls(records, weights, fppi, denominator)
        np.testing.assert_array_equal(found, expected)


def test_auroc_of_a_replicate(films):
    _, labels, scores, patients = films
    weights = patient_weights(patients, 50, seed=2)
    expected = [
        froc.auroc(np.repeat(labels, n), np.repeat(np.round(scores, 1), n)) for n in weights
    ]
    values = bootstrap_auroc(labels, np.round(scores, 1), weights)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_patients_are_drawn_whole():
    patients = ['b', 'a', 'b', 'c', 'c', 'c']
    weights = patient_weights(patients, 400, seed=0)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 3] == weights[:, 5]).all()
    # as many patients as there are, each once on average
    drawn = weights[:, [1, 0, 3]]
    assert (drawn.sum(axis=1) == 3).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.15)
    np.testing.assert_array_equal(weights, patient_weights(patients, 400, seed=0))
    assert (weights != patient_weights(patients, 400, seed=1)).any()


def test_draws_are_the_same_however_many_are_held_at_once(monkeypatch):
    patients = [index // 2 for index in range(90)]
    at_once = patient_weights(patients, 30, seed=5)
    monkeypatch.setattr(bootstrap, '_DRAWS_AT_ONCE', 100)
    in_blocks = patient_weights(patients, 30, seed=5)
    np.testing.assert_array_equal(in_blocks, at_once)
    # as the generator gives them
    draws = np.random.default_rng(5).integers(45, size=(30, 45))
    for replicate, drawn in zip(at_once, draws):
        np.testing.assert_array_equal(replicate[::2], np.bincount(drawn, minlength=45))
    assert at_once.dtype == np.int8


def test_a_patient_drawn_very_often_is_counted(monkeypatch):
    class Same:
        def integers(self, high, size):
            return np.zeros(size, np.int64)

    monkeypatch.setattr(bootstrap.np.random, 'default_rng', lambda seed: Same())
    weights = patient_weights(range(300), 2)
    assert weights[:, 0].tolist() == [300, 300] and not weights[:, 1:].any()


def test_weights_of_all_images_are_not_copied():
    weights = np.ones((2, 3), np.int8)
    assert bootstrap.weights_of_images(weights, np.ones(3, bool)) is weights
    chosen = np.array([True, False, True])
    assert bootstrap.weights_of_images(weights, chosen).shape == (2, 2)


def test_what_cannot_be_measured_is_nan(films):
    records, labels, scores, _ = films
    weights = np.zeros((1, 30), int)
    weights[0, 1] = 2  # a film without lesion
    assert np.isnan(bootstrap_recalls(records, weights, FPPI)).all()
    assert np.isnan(bootstrap_auroc(labels, scores, weights)).all()
    assert np.isnan(interval([np.nan])).all()


def test_interval_by_hand():
    assert interval([*range(101), np.nan], level=0.9) == pytest.approx((5, 95))


def test_interval_covers_the_truth():
    # AUROC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2) = 0.7602
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        labels = np.repeat([0, 1], 60)
        scores = rng.normal(labels)
        values = bootstrap_auroc(labels, scores, patient_weights(range(120), 300, trial))
        low, high = interval(values)
        covered += low <= 0.7602 <= high
    assert 0.88 < covered / 200 < 0.99


def test_bad_input(films):
    records, labels, scores, _ = films
    weights = np.ones((2, 29), int)
    with pytest.raises(ValueError, match=r'\(replicates, 30\)'):
        bootstrap_recalls(records, weights, FPPI)
    with pytest.raises(ValueError, match=r'\(replicates, 30\)'):
        bootstrap_auroc(labels, scores, weights)
    with pytest.raises(ValueError, match='crossing'):
        bootstrap_recalls(records, np.ones((2, 30), int), FPPI, crossing='last')
    with pytest.raises(ValueError, match='films and replicates'):
        patient_weights([])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        bootstrap_recalls(records, np.ones((1, 30), int), FPPI)


def test_at_the_target_itself_recall_still_grows():
    # one false positive on one film from 0.9 on; the lesion is found at 0.5, at the same FPPI
    record = froc.ImageRecord(np.array([0.9]), np.array([1], np.uint8), np.array([0.5]), 0.9)
    for crossing in ('first', 'best'):
        recalls = bootstrap_recalls([record], np.ones((1, 1), int), [1.0, 0.5], crossing=crossing)
        assert recalls.tolist() == [[1, 0]]
