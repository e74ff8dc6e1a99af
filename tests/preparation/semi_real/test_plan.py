# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.preparation.semi_real import NegativeImage, Shares
from mmfrac.preparation.semi_real.plan import SPLITS, image_generator, plan_semi_real


def films_of(counts):
    return [
        NegativeImage(f'/x/{patient}_{film}', f'{patient}_{film}', f'p{patient}')
        for patient, count in enumerate(counts)
        for film in range(count)
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=40),
    st.integers(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_patients_stay_together(counts, seed, hospital, positive):
    shares = Shares((0.5, 0.2, 0.3), hospital, positive, 1 - positive)
    films = films_of(counts)
    plans = plan_semi_real(films, shares, seed)
    assert sorted(plan.image.name for plan in plans) == sorted(film.name for film in films)
    groups = defaultdict(set)
    for plan in plans:
        groups[plan.image.patient_id].add((plan.split, plan.source))
    assert all(len(group) == 1 for group in groups.values())
    assert {plan.split for plan in plans} == set(SPLITS)
    assert all(plan.source == 'hospital' for plan in plans if plan.split != 'train')
    assert plan_semi_real(films[::-1], shares, seed) == plans


def test_shares_are_kept():
    shares = Shares((0.6, 0.1, 0.3), hospital=0.25, hospital_positive=0.2, public_positive=0.75)
    plans = plan_semi_real(films_of([2] * 400), shares, 3)
    count = defaultdict(int)
    for plan in plans:
        count[plan.split, plan.source, plan.gets_fractures] += 1
    assert count['train', 'hospital', True] == 24 and count['train', 'hospital', False] == 96
    assert count['train', 'public', True] == 270 and count['train', 'public', False] == 90
    assert count['val', 'hospital', True] == 16 and count['test', 'hospital', True] == 48
    assert plan_semi_real(films_of([2] * 400), shares, 4) != plans


def test_no_split_is_wanted_or_too_few_patients():
    plans = plan_semi_real(films_of([3, 3]), Shares((0, 0, 1), hospital_positive=1.0), 0)
    assert all(plan.split == 'test' and plan.gets_fractures for plan in plans)
    with pytest.raises(ValueError, match=r'2 patient.*in one split only'):
        plan_semi_real(films_of([3, 3]), Shares(), 0)


@pytest.mark.parametrize(
    'wrong', [dict(splits=(0.5, 0.5, 0.5)), dict(hospital=1.5), dict(public_positive=-0.1)]
)
def test_impossible_shares(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Shares(**wrong)


def test_generator_depends_on_seed_and_name_alone():
    draws = [image_generator(s, n).random() for s, n in ((0, 'a'), (0, 'a'), (1, 'a'), (0, 'b'))]
    assert draws[0] == draws[1] and len(np.unique(draws)) == 3
