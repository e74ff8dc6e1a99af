# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.evaluation.functional.afroc import (
    afroc_area,
    bootstrap_afroc_area,
    highest_false_positive,
)
from mmfrac.evaluation.functional.bootstrap import patient_weights
from mmfrac.evaluation.functional.froc import ImageRecord, image_record


def film(highest_fp=0.0, lesions=()):
    thresholds = [highest_fp] if highest_fp else []
    return ImageRecord(
        np.array(thresholds), np.ones(len(thresholds), np.uint8), np.array(lesions, float), 0.0
    )


# two films without lesions (0.5, none), one with lesions 0.75 and 0.25, one with a lesion that is missed
FILMS = [film(0.5), film(), film(0.625, (0.75, 0.25)), film(0.125, (0.0,))]


@pytest.mark.parametrize(
    ('films', 'weights', 'expected'),
    [
        # 0.75 beats both, 0.25 beats the unmarked one, the missed one ties with it
        ('negatives', 'lesions', (2 + 1 + 0.5) / 6),
        # film of two lesions (2 + 1) / 2 of 2, film of the missed one 0.5 of 2
        ('negatives', 'films', (3 / 4 + 1 / 4) / 2),
        # highest false positives 0.5, none, 0.625, 0.125
        ('all', 'lesions', (4 + 2 + 0.5) / 12),
        ('all', 'films', (6 / 8 + 0.5 / 4) / 2),
    ],
)
def test_by_hand(films, weights, expected):
    assert afroc_area(FILMS, films, weights) == pytest.approx(expected)


def test_highest_false_positive_of_a_map():
    prob_map = np.zeros((8, 8))
    prob_map[1, 1], prob_map[4, 4], prob_map[6, 6] = 0.9, 0.6, 0.3
    record = image_record(prob_map, [[0, 0, 3, 3]])
    assert highest_false_positive(record) == 0.6
    assert highest_false_positive(image_record(np.zeros((2, 2)), [])) == 0


levels = st.integers(0, 4).map(lambda level: level / 4)
some_films = st.lists(
    st.tuples(levels, st.lists(levels, max_size=3)).map(lambda row: film(*row)), max_size=7
)


def slow_area(records, films, weights):
    total = weight_sum = 0.0
    noise = [
        highest_false_positive(record)
        for record in records
        if films == 'all' or not len(record.lesion_scores)
    ]
    for record in records:
        for score in record.lesion_scores:
            weight = 1 / len(record.lesion_scores) if weights == 'films' else 1
            weight_sum += weight
            total += weight * sum((score > x) + 0.5 * (score == x) for x in noise)
    return total / weight_sum / len(noise) if noise and weight_sum else float('nan')


@settings(max_examples=200, deadline=None)
@given(some_films, st.sampled_from(['negatives', 'all']), st.sampled_from(['lesions', 'films']))
def test_equals_slow_twin(records, films, weights):
    expected = slow_area(records, films, weights)
    assert afroc_area(records, films, weights) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize('films', ['negatives', 'all'])
@pytest.mark.parametrize('weights', ['lesions', 'films'])
def test_a_replicate_is_the_area_of_the_repeated_films(films, weights):
    rng = np.random.default_rng(0)
    records = [
        film(round(rng.random(), 1), np.round(rng.random(i % 3), 1).tolist()) for i in range(20)
    ]
    replicates = patient_weights(range(20), 10, seed=3)
    drawn = bootstrap_afroc_area(records, replicates, films, weights)
    for value, counts in zip(drawn, replicates):
        repeated = [record for record, n in zip(records, counts) for _ in range(n)]
        assert value == pytest.approx(slow_area(repeated, films, weights))


def test_unknown_options_name_the_valid_ones():
    with pytest.raises(ValueError, match='negatives'):
        afroc_area(FILMS, 'positives')
    with pytest.raises(ValueError, match='lesions'):
        afroc_area(FILMS, 'all', 'area')
