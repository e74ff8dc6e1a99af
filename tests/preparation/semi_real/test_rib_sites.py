# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.preparation.semi_real import find_lungs, find_rib_sites
from mmfrac.preparation.semi_real.rib_sites import crests, follow, ridge_field, sample
from tests.preparation.semi_real.chest_films import chest_film, drawn_chest


def test_straight_ribs_are_measured_exactly():
    plane, lungs, nearest = drawn_chest()
    sites = find_rib_sites(plane, lungs)
    # where the strip along the rib does not touch the lung's edge
    clear = [s for s in sites if 55 < abs(s.x - 200) < 120 and 85 < s.y < 295]
    assert len(clear) > 20
    for site in clear:
        assert abs(nearest[round(site.y), round(site.x)]) < 1.5
        downwards = np.arctan(0.35) if site.x > 200 else np.pi - np.arctan(0.35)
        assert np.cos(site.angle - downwards) > np.cos(0.06)
        assert site.half_width == pytest.approx(6.0, abs=0.8)
        assert site.contrast == pytest.approx(0.1, abs=0.015)
        assert abs(site.bend) < 0.008


def test_direction_is_away_from_the_spine():
    plane = chest_film(1)
    sites = find_rib_sites(plane, find_lungs(plane))
    assert sites
    assert all((np.cos(site.angle) > 0) == (site.x > 96) for site in sites)


def test_lungs_without_ribs_have_no_sites():
    plane, lungs, _ = drawn_chest(lift=0.0)
    assert find_rib_sites(plane, lungs) == []
    grain = np.random.default_rng(0).normal(0, 0.05, plane.shape).astype(np.float32)
    assert find_rib_sites(plane + grain, lungs) == []


@pytest.mark.parametrize('angle', [-0.9, -0.3, 0.0, 0.5])
def test_ridge_filter_finds_the_direction_and_walks_stay_on_the_ridge(angle):
    y, x = np.mgrid[:120, :120] - 60.0
    across = y * np.cos(angle) - x * np.sin(angle)
    plane = np.exp(-0.5 * (across / 3) ** 2).astype(np.float32)
    field = ridge_field(plane, (2.0, 3.0), 8.0, 1.05)
    assert field.angle[60, 60] == pytest.approx(angle, abs=0.1)
    region = np.hypot(x, y) < 25
    starts = crests(field, region, 0.25, thinning=1)
    walks = follow(field, starts, 20.0, 0.3)
    assert len(walks) == len(starts) > 20
    away = (walks[..., 1] - 60) * np.cos(angle) - (walks[..., 0] - 60) * np.sin(angle)
    assert np.abs(away).max() < 1.5
    length = np.hypot(*(walks[:, -1] - walks[:, 0]).T)
    np.testing.assert_allclose(length, 2 * 13 * 1.5, rtol=0.05)


def test_sample_is_linear_and_continues_the_edge():
    plane = np.arange(12, dtype=np.float32).reshape(3, 4)
    points = np.array([[0.5, 0], [1, 1.5], [-3, 0], [9, 9]])
    np.testing.assert_allclose(sample(plane, points), [0.5, 7, 0, 11])
