# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.datasets.transforms import PackProbMapInputs, ProbMapTarget, WindowTarget
from mmfrac.datasets.transforms.targets import window_bounds


def test_bounds_by_hand():
    lower, upper = window_bounds(np.array([[2.5, 1.5]]), (4, 6), inner=1.0, outer=2.0)
    # centres at distance 0 and 1, then up to 2
    assert lower.tolist() == [
        [0, 0, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert upper.tolist() == [
        [0, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0],
    ]


def test_a_point_keeps_its_cell_and_points_join():
    bounds = window_bounds(np.array([[1.9, 0.1], [4.0, 2.0], [9.0, 1.0]]), (3, 6), 0.0, 0.0)
    assert np.argwhere(bounds[0]).tolist() == [[0, 1], [2, 4]]
    assert np.array_equal(bounds[0], bounds[1])
    assert not window_bounds(np.zeros((0, 2)), (3, 6), 1.0, 2.0).any()


def results(**more):
    boxes = [dict(bbox=[8, 8, 24, 16]), dict(bbox=[40, 40, 60, 60], ignore_flag=1)]
    return (
        dict(img=np.zeros((64, 64)), img_shape=(64, 64), ori_shape=(48, 64), instances=boxes) | more
    )


def test_centres_of_boxes_follow_the_view():
    flip = np.array([[-1.0, 0, 64], [0, 1, 0], [0, 0, 1]])
    # the centre (16, 12) px, and its mirror image (48, 12)
    for homography, cell in ((None, [3, 4]), (flip, [3, 12])):
        moved = results() if homography is None else results(homography_matrix=homography)
        found = WindowTarget(inner=0.0, outer=0.1).transform(moved)
        lower, upper = found['gt_prob_map']
        assert np.argwhere(lower).tolist() == [cell]
        assert upper.sum() > lower.sum() and upper[lower == 1].all()
        expected = ProbMapTarget().transform(results(homography_matrix=homography))['valid_map']
        assert np.array_equal(found['valid_map'], expected)


def test_cells_of_ignored_boxes_count_around_a_lesion_alone():
    boxes = [dict(bbox=[12, 12, 16, 16]), dict(bbox=[0, 0, 16, 16], ignore_flag=1)]
    options = dict(img_shape=(32, 32), ori_shape=(32, 32), instances=boxes)
    # the centre (14, 14) px is the cell (3, 3); within 4 px of it lie the four beside that one
    found = WindowTarget(inner=4 / 32, outer=0.3).transform(options)
    expected = np.ones((8, 8), bool)
    expected[:4, :4] = False
    expected[3, 3] = expected[2, 3] = expected[3, 2] = True
    np.testing.assert_array_equal(found['valid_map'], expected)
    assert found['gt_prob_map'][1, 1, 3] and not found['valid_map'][1, 3]


def test_is_packed_as_two_channels():
    packed = PackProbMapInputs().transform(WindowTarget().transform(results()))
    assert packed['data_samples'].gt_prob_map.prob_map.shape == (2, 16, 16)
    packed = PackProbMapInputs().transform(ProbMapTarget().transform(results()))
    assert packed['data_samples'].gt_prob_map.prob_map.shape == (1, 16, 16)


@pytest.mark.parametrize('options', [dict(inner=0.2, outer=0.1), dict(inner=-1), dict(stride=0)])
def test_bad_options(options):
    with pytest.raises(ValueError, match=r'radii|stride'):
        WindowTarget(**options)
