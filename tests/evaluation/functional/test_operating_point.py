# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord, froc_curve
from mmfrac.evaluation.functional.operating_point import Target, choose_threshold, rates_at

# FPPI rises to 0.4, falls back to 0.1 and rises to 0.8
BENT = FrocCurve(
    np.array([np.inf, 0.9, 0.7, 0.5, 0.3, 0.1]),
    np.array([0, 0.2, 0.4, 0.1, 0.3, 0.8]),
    np.array([0, 0.2, 0.3, 0.5, 0.6, 0.9]),
    10,
    10,
)


@pytest.mark.parametrize(
    ('target', 'crossing', 'threshold'),
    [
        ('fppi=0.1', 'first', np.inf),
        ('fppi=0.1', 'best', 0.5),
        ('fppi=0.39', 'first', 0.9),
        ('fppi=0.4', 'first', 0.3),
        ('fppi=0.35', 'best', 0.3),
        ('fppi=2', 'first', 0.1),
        ('sensitivity=0.5', 'first', 0.5),
        ('sensitivity=0.55', 'best', 0.3),
    ],
)
def test_chosen_by_hand(target, crossing, threshold):
    assert choose_threshold(BENT, Target.parse(target), crossing) == threshold


def test_what_cannot_be_reached_is_nan():
    assert np.isnan(choose_threshold(BENT, Target('sensitivity', 0.95)))
    assert np.isnan(choose_threshold(froc_curve([]), Target('fppi', 0.5)))


def film(thresholds=(), counts=(), lesions=()):
    return ImageRecord(np.array(thresholds), np.array(counts, np.uint8), np.array(lesions), 0.0)


RECORDS = [
    film([0.9, 0.4], [1, 3], [0.6, 0.2]),  # a positive with a false positive at 0.5
    film([0.5], [2]),  # a negative with two
    film(),
    None,  # a positive whose boxes are not complete
    film([0.8], [1], [0.9]),
]
LABELS = [1, 0, 0, 1, 1]
SCORES = [0.9, 0.5, 0.1, 0.4, 0.8]


def test_rates_by_hand():
    found = {name: rate[0] for name, rate in rates_at(RECORDS, LABELS, SCORES, 0.5).items()}
    assert found == dict(
        recall=2 / 3,
        fppi=4 / 4,
        fppi_negatives=2 / 2,
        fppi_positives=2 / 2,
        sensitivity=2 / 3,
        specificity=1 / 2,
    )
    nothing = rates_at(RECORDS, LABELS, SCORES, np.inf)
    assert nothing['fppi'][0] == nothing['recall'][0] == 0
    assert nothing['specificity'][0] == 1


def test_a_threshold_cuts_lesions_and_false_positives_of_32_bits_alike():
    score = np.float32(0.7)
    record = ImageRecord(
        np.array([score]), np.array([1], np.uint8), np.array([score]), float(score)
    )
    for threshold, kept in ((0.7, False), (float(score), True)):
        assert (float(score) >= threshold) == kept
        found = rates_at([record], [1], [float(score)], threshold)
        assert [found[name][0] for name in ('recall', 'fppi', 'sensitivity')] == [kept] * 3


def test_rates_of_a_replicate_are_those_of_the_repeated_films():
    replicates = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2], [0, 3, 0, 1, 0]])
    found = rates_at(RECORDS, LABELS, SCORES, 0.45, replicates)
    for row, weights in enumerate(replicates):
        index = np.repeat(np.arange(5), weights)
        repeated = rates_at(
            [RECORDS[i] for i in index], np.array(LABELS)[index], np.array(SCORES)[index], 0.45
        )
        for name, rate in repeated.items():
            np.testing.assert_equal(found[name][row], rate[0])
    assert np.isnan(found['recall'][2]) and np.isnan(found['fppi_positives'][2])


def test_threshold_of_validation_is_not_that_of_test():
    validation = froc_curve([film([0.9, 0.3], [1, 2], [0.8]), film()])
    threshold = choose_threshold(validation, Target('fppi', 0.5))
    assert threshold == 0.8
    assert rates_at(RECORDS, LABELS, SCORES, threshold)['fppi'][0] == 2 / 4


@pytest.mark.parametrize(
    'text', ['fppi', 'fppi=x', 'recall=0.5', 'sensitivity=0', 'sensitivity=1.1', 'fppi=-1']
)
def test_targets_are_checked(text):
    with pytest.raises(ValueError):
        Target.parse(text)
    with pytest.raises(ValueError, match='threshold must be > 0'):
        rates_at(RECORDS, LABELS, SCORES, float('nan'))
