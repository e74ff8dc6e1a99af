# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from mmfrac.evaluation.functional.calibration import apply_temperature, fit_temperature, reliability


def test_reliability_by_hand():
    # bins (0, 1/2] and (1/2, 1]; the film of label -1 counts nowhere
    found = reliability([0, 1, 1, 0, -1], [0.2, 0.5, 0.7, 0.9, 0.3], num_bins=2)
    np.testing.assert_allclose(found.confidence, [0.35, 0.8])
    np.testing.assert_allclose(found.frequency, [0.5, 0.5])
    assert found.counts.tolist() == [2, 2]
    assert found.ece == pytest.approx((0.15 * 2 + 0.3 * 2) / 4)
    assert found.brier == pytest.approx((0.04 + 0.25 + 0.09 + 0.81) / 4)


def test_bins_of_equal_count_keep_equal_scores_together():
    found = reliability([0, 0, 1, 1, 1, 1], [0.1, 0.1, 0.1, 0.2, 0.3, 0.4], 2, 'count')
    assert found.counts.tolist() == [3, 3]
    np.testing.assert_allclose(found.frequency, [1 / 3, 1])
    assert reliability([0, 1, 1], [0.5, 0.5, 0.5], 3, 'count').counts.tolist() == [3]


def test_scores_at_the_ends_and_no_film():
    found = reliability([0, 1], [0.0, 1.0])
    assert found.ece == 0 and found.brier == 0
    assert np.isnan(reliability([-1], [0.5]).ece)


def test_temperature_that_was_put_in_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000) * 2
    labels = (rng.random(logits.size) < expit(logits)).astype(int)
    overconfident = expit(logits * 2.5)
    temperature = fit_temperature(labels, overconfident)
    assert temperature == pytest.approx(2.5, rel=0.05)
    before = reliability(labels, overconfident)
    after = reliability(labels, apply_temperature(overconfident, temperature))
    assert after.ece < 0.02 < 0.05 < before.ece and after.brier < before.brier


def test_temperature_is_the_minimum_of_the_log_loss():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 60), rng.random(60)
    scores = np.where(labels == 1, scores**0.5, scores)

    def loss(temperature):
        p = expit(logit(scores) / temperature)
        return -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))

    best = minimize_scalar(loss, bounds=(0.01, 50), method='bounded', options=dict(xatol=1e-9))
    assert fit_temperature(labels, scores) == pytest.approx(best.x, rel=1e-4)


def test_temperature_has_bounds():
    assert fit_temperature([0, 1], [0.2, 0.7]) == 1e-3
    assert fit_temperature([1, 0], [0.2, 0.7]) == 1e3
    scaled = apply_temperature([0.0, 0.3, 0.3, 1.0], 1e3)
    assert np.isfinite(scaled).all() and (np.diff(scaled) >= 0).all() and scaled[0] < scaled[1]
    np.testing.assert_allclose(apply_temperature([0.1, 0.9], 1), [0.1, 0.9])


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: reliability([0, 1], [0.1, 1.2]), r'score 1 is 1\.2'),
        (lambda: reliability([0, 1], [0.1, np.nan]), 'score 1 is nan'),
        (lambda: reliability([0, 1], [0.1]), 'shapes'),
        (lambda: reliability([0], [0.1], 0), 'num_bins'),
        (lambda: reliability([0], [0.1], 5, 'area'), 'width'),
        (lambda: fit_temperature([1, 1], [0.1, 0.2]), 'label 0'),
        (lambda: apply_temperature([0.5], 0), 'positive'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
