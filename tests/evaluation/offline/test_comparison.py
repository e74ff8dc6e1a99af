# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.evaluation.functional.bootstrap import bootstrap_auroc, patient_weights
from mmfrac.evaluation.functional.roc import delong_test
from mmfrac.evaluation.offline.summary import paired_bootstrap_test


def test_by_hand():
    # differences -1, 1, 2, ..., 98: one of 99 on the lower side, none at 0; NaN is left out
    first = np.array([-1.0, *range(1, 99), np.nan])
    test = paired_bootstrap_test(0.9, 0.7, first, np.zeros(100), level=0.9)
    assert test.difference == pytest.approx(0.2)
    assert test.p_value == pytest.approx(2 * 2 / 100)
    assert (test.low, test.high) == pytest.approx(np.quantile(first[:-1], [0.05, 0.95]))


def test_equal_models_do_not_differ():
    values = np.random.default_rng(0).random(50)
    test = paired_bootstrap_test(0.5, 0.5, values, values + 1e-15)
    assert test == (0, 0, 0, 1)


def test_agrees_with_delong():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 150)
    first = rng.normal(labels * 1.2)
    second = 0.6 * first + 0.4 * rng.normal(labels * 0.9)
    weights = patient_weights(range(300), 4000, seed=0)
    drawn = [bootstrap_auroc(labels, scores, weights) for scores in (first, second)]
    exact = delong_test(labels, first, second)
    test = paired_bootstrap_test(exact.difference, 0, *drawn)
    assert test.p_value == pytest.approx(exact.p_value, abs=0.03)
    assert (test.low, test.high) == pytest.approx((exact.low, exact.high), abs=0.01)
    # unpaired draws would miss that both err on the same films
    other = bootstrap_auroc(labels, second, patient_weights(range(300), 4000, seed=1))
    unpaired = paired_bootstrap_test(exact.difference, 0, drawn[0], other)
    assert unpaired.high - unpaired.low > 1.2 * (test.high - test.low)


def test_nothing_to_compare():
    test = paired_bootstrap_test(np.nan, 0.5, [np.nan], [0.5])
    assert np.isnan(test).all()
    with pytest.raises(ValueError, match='alike'):
        paired_bootstrap_test(0, 0, [0.1], [0.1, 0.2])
