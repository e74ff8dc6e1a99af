# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.semi_real import RibSite, add_fractures
from mmfrac.preparation.semi_real.drawing import (
    BOX_BLUR,
    BOX_LEVEL,
    NO_LUNGS,
    NO_RIBS,
    break_rib,
    changed_box,
)
from mmfrac.preparation.semi_real.fractures import REACH, draw_fracture
from tests.preparation.semi_real.chest_films import chest_film, drawn_chest, films_without_lungs

SITE = RibSite(x=100.0, y=90.0, angle=0.4, bend=0.004, half_width=7.0, contrast=0.2)


def bar(grain=0.0, seed=0):
    """A film with one rib under SITE."""
    y, x = np.mgrid[:180, :200].astype(np.float64)
    dx, dy = x - SITE.x, y - SITE.y
    along = dx * np.cos(SITE.angle) + dy * np.sin(SITE.angle)
    across = dy * np.cos(SITE.angle) - dx * np.sin(SITE.angle) - SITE.bend / 2 * along**2
    plane = 0.3 + 0.2 / (1 + np.exp(np.abs(across) - SITE.half_width))
    # a film has brighter places than its ribs
    plane[:2, :2] = 1.0
    noise = np.random.default_rng(seed).normal(0, grain, plane.shape)
    return (plane + noise).clip(0, 1).astype(np.float32), along, across


def broken_bar(difficulty, seed, grain=0.0):
    plane, along, across = bar(grain)
    fracture = draw_fracture(np.random.default_rng(seed), difficulty)
    after = plane.copy()
    break_rib(after, SITE, fracture)
    return plane, after, fracture, along, across


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_box_is_the_extent_of_what_changes(seed, difficulty):
    plane, after, *_ = broken_bar(difficulty, seed, grain=0.003)
    x1, y1, x2, y2 = map(int, changed_box(plane, after, SITE))
    sigma = max(1.0, BOX_BLUR * SITE.half_width)
    change = np.abs(cv2.GaussianBlur(after - plane, (0, 0), sigma))
    seen = change > BOX_LEVEL * change.max()
    inside = np.zeros_like(seen)
    inside[y1:y2, x1:x2] = True
    assert not seen[~inside].any()
    for edge in (seen[y1, x1:x2], seen[y2 - 1, x1:x2], seen[y1:y2, x1], seen[y1:y2, x2 - 1]):
        assert edge.any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_nothing_changes_beyond_the_reach(seed, difficulty):
    plane, after, _, along, across = broken_bar(difficulty, seed, grain=0.01)
    far = np.hypot(along, across) > REACH * SITE.half_width
    np.testing.assert_array_equal(after[far], plane[far])
    assert (after != plane).any()


def test_acute_fracture_moves_the_part_beyond_it_across_the_rib():
    seed = next(
        s for s in range(99) if draw_fracture(np.random.default_rng(s), 0.0).kind == 'acute'
    )
    plane, after, fracture, along, across = broken_bar(0.0, seed)
    step = fracture.side * fracture.size * SITE.half_width

    def middle(film, low, high):
        strip = (along > low) & (along < high) & (np.abs(across) < 3 * SITE.half_width)
        bone = np.clip(film[strip] - 0.31, 0, None)
        return (bone * across[strip]).sum() / bone.sum()

    beyond, before = (6, 10), (-14, -10)
    assert middle(plane, *beyond) == pytest.approx(0, abs=0.1)
    assert middle(after, *before) == pytest.approx(0, abs=0.2)
    assert middle(after, *beyond) == pytest.approx(step * 0.85, rel=0.2)
    # the line is dark, but never darker than the lung that it lets through
    assert after.min() > plane.min() - 0.01
    line = (np.abs(along) < 3) & (np.abs(across) < 0.3 * SITE.half_width)
    assert after[line].min() < plane[line].min() - 0.25 * SITE.contrast


def test_chronic_fracture_widens_and_thickens_the_rib():
    kinds = [draw_fracture(np.random.default_rng(s), 0.0).kind for s in range(99)]
    plane, after, *_, along, across = broken_bar(0.0, kinds.index('chronic'))
    here = np.abs(along) < 2
    assert (after[here] > 0.4).sum() > 1.25 * (plane[here] > 0.4).sum()
    core = here & (np.abs(across) < 3)
    assert after[core].mean() > plane[core].mean() + 0.3 * SITE.contrast
    far = np.abs(along) > 5 * SITE.half_width
    np.testing.assert_allclose(after[far], plane[far], atol=0.02 * SITE.contrast)


@pytest.mark.parametrize('seed', range(6))
def test_contrast_falls_with_difficulty(seed):
    changes = []
    for difficulty in (0.0, 0.25, 0.5, 0.75, 1.0):
        plane, after, *_ = broken_bar(difficulty, seed)
        changes.append(np.abs(after - plane).sum())
    assert all(more > less for more, less in pairwise(changes))
    assert changes[0] > 3 * changes[-1]


def test_fracture_follows_the_contrast_of_its_rib():
    faint = dataclasses.replace(SITE, contrast=0.05)
    plane = bar()[0]
    for seed in range(4):
        fracture = draw_fracture(np.random.default_rng(seed), 0.3)
        strong, weak = plane.copy(), (plane - 0.3) / 4 + 0.3
        before = weak.copy()
        break_rib(strong, SITE, fracture)
        break_rib(weak, faint, fracture)
        ratio = np.abs(weak - before).sum() / np.abs(strong - plane).sum()
        assert ratio == pytest.approx(0.25, rel=0.1)


def test_grain_is_moved_not_smoothed():
    ratios = []
    for seed in range(12):
        plane, after, *_ = broken_bar(0.3, seed, grain=0.02)
        x1, y1, x2, y2 = map(int, changed_box(plane, after, SITE))
        spread = []
        for film in (plane, after):
            part = (film - cv2.GaussianBlur(film, (0, 0), 1.0))[y1:y2, x1:x2]
            spread.append(np.median(np.abs(part)))
        ratios.append(spread[1] / spread[0])
    assert np.median(ratios) == pytest.approx(1.0, abs=0.06)
    assert min(ratios) > 0.85


def test_film_has_boxes_around_all_changes_and_keeps_its_depth():
    plane = chest_film(2)
    film = add_fractures(plane, np.random.default_rng(0), 2, 0.3)
    assert len(film.fractures) == 2 and film.reason == ''
    change = np.abs(film.image - plane)
    outside = np.ones(change.shape, bool)
    for one in film.fractures:
        x1, y1, x2, y2 = map(int, one.box)
        assert 0 <= x1 < x2 <= 192 and 0 <= y1 < y2 <= 192
        assert x1 <= one.site.x <= x2 and y1 <= one.site.y <= y2
        outside[y1:y2, x1:x2] = False
        assert change[y1:y2, x1:x2].max() > 0.2 * one.site.contrast
    blurred = cv2.GaussianBlur(film.image - plane, (0, 0), 1.5)
    assert np.abs(blurred[outside]).max() < 0.25 * np.abs(blurred).max()
    values = film.image * 4095
    assert np.abs(values - np.rint(values)).max() < 1e-3


def test_same_generator_same_film():
    films = [add_fractures(chest_film(3), np.random.default_rng(5), 2, 0.4) for _ in range(2)]
    np.testing.assert_array_equal(films[0].image, films[1].image)
    assert films[0].fractures == films[1].fractures
    other = add_fractures(chest_film(3), np.random.default_rng(6), 2, 0.4)
    assert other.fractures != films[0].fractures


def test_difficulty_does_not_move_fractures():
    easy, hard = (add_fractures(chest_film(2), np.random.default_rng(1), 2, d) for d in (0.0, 1.0))
    assert [one.site for one in easy.fractures] == [one.site for one in hard.fractures]
    assert [one.fracture.kind for one in easy.fractures] == [
        one.fracture.kind for one in hard.fractures
    ]


@pytest.mark.parametrize('kind', list(films_without_lungs()))
def test_film_without_lungs_stays_negative(kind):
    plane = films_without_lungs()[kind]
    film = add_fractures(plane, np.random.default_rng(0), 3, 0.3)
    assert film.image is plane and film.fractures == [] and film.reason == NO_LUNGS


def test_film_without_ribs_stays_negative():
    plane, *_ = drawn_chest(lift=0.0)
    film = add_fractures(plane, np.random.default_rng(0), 3, 0.3)
    assert film.image is plane and film.fractures == [] and film.reason == NO_RIBS


def test_real_films_get_fractures(shared_data):
    paths = sorted((shared_data / 'real_cxr' / 'images').glob('0000[012]*.png'))[:3]
    assert len(paths) == 3
    for index, path in enumerate(paths):
        plane = read_radiograph(path)
        film = add_fractures(plane, np.random.default_rng(index), 1, 0.3)
        assert len(film.fractures) == 1 and film.reason == ''
        one = film.fractures[0]
        x1, y1, x2, y2 = map(int, one.box)
        assert x1 <= one.site.x <= x2 and y1 <= one.site.y <= y2
        change = np.abs(
            cv2.GaussianBlur(film.image - plane, (0, 0), BOX_BLUR * one.site.half_width)
        )
        assert change[y1:y2, x1:x2].max() == change.max() > 0.1 * one.site.contrast
        y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
        far = np.hypot(x - one.site.x, y - one.site.y) > 2 * REACH * one.site.half_width
        np.testing.assert_array_equal(film.image[far], plane[far])
        values = film.image * 255
        assert np.abs(values - np.rint(values)).max() < 1e-4
