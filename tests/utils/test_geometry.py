# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmfrac.models.heads.prob_map_head import image_cells
from mmfrac.utils.geometry import image_mask


@pytest.mark.parametrize(
    ('width', 'columns'),
    # cells of 4 px: the film reaches 1, 2 or 3 px into its last one, or fills it
    [(9, 3), (10, 3), (11, 3), (12, 3), (13, 4), (1, 1)],
)
def test_upright_film_has_every_cell_that_it_reaches_into(width, columns):
    mask = image_mask((8, width), np.eye(3), (3, 5), 4)
    expected = np.zeros((3, 5), bool)
    expected[:2, :columns] = True
    np.testing.assert_array_equal(mask, expected)
    # flipped after it was padded to 20 px, it ends at the right
    mirror = np.array([[-1, 0, 20], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(image_mask((8, width), mirror, (3, 5), 4), expected[:, ::-1])


def test_film_that_was_moved_out_of_the_input_has_no_cells():
    right, left = np.eye(3), np.eye(3)
    right[0, 2], left[0, 2] = 20, -8
    for homography in (right, left):
        assert not image_mask((8, 8), homography, (3, 5), 4).any()


@given(
    ori_shape=st.tuples(st.integers(30, 5000), st.integers(30, 5000)),
    longest=st.sampled_from([64, 160, 256, 1024, 1333]),
    stride=st.sampled_from([1, 2, 4, 8, 32]),
    flipped=st.booleans(),
)
# what 1024 x 829 px leave of the last cell is one px of four
@example(ori_shape=(1000, 810), longest=1024, stride=4, flipped=False)
def test_cells_that_are_predicted_are_those_that_are_trained(ori_shape, longest, stride, flipped):
    factor = longest / max(ori_shape)
    new = [max(1, int(side * factor + 0.5)) for side in ori_shape]
    scale_y, scale_x = (after / before for after, before in zip(new, ori_shape))
    cells = -(-longest // stride)
    # in float32, as mmdet records it
    homography = np.diag([scale_x, scale_y, 1.0]).astype(np.float32)
    if flipped:
        mirror = np.array([[-1, 0, cells * stride], [0, 1, 0], [0, 0, 1]], np.float32)
        homography = mirror @ homography
    mask = image_mask(ori_shape, homography, (cells, cells), stride)
    sample = SimpleNamespace(ori_shape=ori_shape, scale_factor=(scale_x, scale_y))
    rows, columns = image_cells(sample, stride)
    expected = np.zeros((cells, cells), bool)
    expected[:rows, :columns] = True
    np.testing.assert_array_equal(mask, expected[:, ::-1] if flipped else expected)


def test_a_film_turned_upside_down_has_every_cell_that_it_reaches_into():
    # 103 x 81 px, turned about its centre as mmdet's Rotate records it: 1e-16 off the axes
    turned = np.array([[-1, 1.2246e-16, 103], [-1.2246e-16, -1, 81], [0, 0, 1]])
    mask = image_mask((81, 103), turned, (22, 27), 4)
    assert np.array_equal(mask, image_mask((81, 103), np.eye(3), (22, 27), 4))
    assert mask.sum() == 21 * 26
