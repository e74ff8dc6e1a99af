# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes

from mmfrac.datasets import PackProbMapInputs, ProbMapTarget
from mmfrac.visualization.browse import ImageState, draw_state, image_state

SHIFT = np.array([[2.0, 0, 4], [0, 2, 8], [0, 0, 1]])


def results(**more):
    img = np.linspace(0, 1, 64 * 80, dtype=np.float32).reshape(64, 80)
    instance = dict(bbox=[2, 3, 12, 13], ignore_flag=0, bbox_label=0)
    base = dict(img=img, img_shape=(64, 80), ori_shape=(28, 38), homography_matrix=SHIFT)
    return base | dict(instances=[instance], gt_bboxes=HorizontalBoxes([[8, 14, 28, 34]])) | more


def test_lesions_move_along_with_the_film():
    state = image_state(results())
    np.testing.assert_allclose(state.outlines, [[[8, 14], [28, 14], [28, 34], [8, 34]]])
    np.testing.assert_allclose(state.boxes, [[8, 14, 28, 34]])
    assert state.target is None and state.image.shape == (64, 80)
    triangle = dict(bbox=[2, 3, 12, 13], polygon=[[2, 3, 12, 3, 12, 13]])
    state = image_state(results(instances=[triangle], homography_matrix=None, gt_bboxes=None))
    np.testing.assert_allclose(state.outlines[1], [[2, 3], [12, 3], [12, 13]])
    assert state.boxes.shape == (0, 4)
    ignored = dict(bbox=[2, 3, 12, 13], ignore_flag=1)
    assert image_state(results(instances=[ignored])).outlines == []
    assert image_state(dict(img_path='a.png')) is None


def test_packed_and_unpacked_states_are_the_same():
    unpacked = ProbMapTarget()(
        results(gt_bboxes_labels=np.zeros(1), gt_ignore_flags=np.zeros(1, bool))
    )
    state = image_state(unpacked)
    packed = image_state(PackProbMapInputs()(unpacked))
    np.testing.assert_array_equal(state.image, packed.image)
    np.testing.assert_allclose(state.outlines, packed.outlines)
    np.testing.assert_allclose(state.boxes, packed.boxes)
    # centres of columns 2.5 to 6.5 and, edges included, of rows 3.5 to 8.5
    assert state.target.sum() == 30 and np.array_equal(state.target, packed.target)
    assert not state.valid.all() and np.array_equal(state.valid, packed.valid)


def test_planes_of_other_kinds():
    img = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    np.testing.assert_allclose(image_state(dict(img=img)).image, img[..., 0] / 255, rtol=1e-6)
    normalised = image_state(dict(img=np.array([[-2.0, 0.0], [1.0, 2.0]]))).image
    np.testing.assert_allclose(normalised, [[0, 0.5], [0.75, 1]])
    sample = PackProbMapInputs()(dict(img=img, img_shape=(8, 9), ori_shape=(8, 9)))
    assert torch.is_tensor(sample['inputs']) and image_state(sample).image.shape == (8, 9)


def test_what_is_drawn_where():
    target, valid = np.zeros((16, 20), np.uint8), np.ones((16, 20), bool)
    target[4:6, 5:8] = 1
    valid[:, -2:] = False
    plane = np.full((64, 80), 0.5, np.float32)
    picture = draw_state(ImageState(plane, target=target, valid=valid)).astype(int)
    tinted = np.ptp(picture, axis=2) > 5
    expected = np.zeros((64, 80), bool)
    expected[16:24, 20:32] = expected[:, 72:] = True
    assert np.array_equal(tinted, expected)
    assert picture[20, 25, 0] > picture[20, 25, 2] and picture[20, 75, 2] > picture[20, 75, 0]
    outline = np.array([[10, 10], [40, 10], [40, 30], [10, 30]])
    picture = draw_state(ImageState(plane, [outline]), size=160).astype(int)
    green = (picture[..., 1] - picture[..., 0]) > 50
    assert picture.shape == (128, 160, 3)
    rows, columns = np.nonzero(green)
    assert abs(rows.min() - 20) <= 1 and abs(columns.max() - 80) <= 1 and not green[40, 40]
    boxed = draw_state(ImageState(plane, boxes=np.array([[10, 10, 40, 30.0]]))).astype(int)
    yellow = (boxed[..., 0] - boxed[..., 2]) > 50
    assert yellow[10:30, 10].any() and not yellow[12:28, 12:38].any()
