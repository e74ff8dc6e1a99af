# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest

from mmfrac.preparation.phantom.pose import Pose
from mmfrac.preparation.phantom.soft_tissue import GRID, _round


def slow_round(mask, reach, pose):
    """Over the whole grid."""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside, outside = (
        cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
        for region in (framed, 1 - framed)
    )
    signed = cv2.GaussianBlur(inside - outside, (9, 9), 1.6)
    inside = np.clip(signed * np.float32(pose.film_cm / GRID / reach), 0.0, 1.0)
    return np.sqrt(np.maximum(inside * (2.0 - inside), 0.0))


@pytest.mark.parametrize('seed', range(40))
def test_rounded_slabs_equal_their_slow_twin(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((GRID, GRID), np.uint8)
    # within the film, over its edges, and two that lie apart
    for _ in range(1 + seed % 2):
        corners = rng.integers(-60, GRID + 60, 2) + rng.integers(-70, 70, (5, 2))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    pose = Pose.of_film(38.0)
    np.testing.assert_array_equal(_round(mask, 4.0, pose), slow_round(mask, 4.0, pose))


def test_what_is_not_on_the_film_is_nothing():
    mask = np.zeros((GRID, GRID), np.uint8)
    assert not _round(mask, 4.0, Pose.of_film(38.0)).any()
