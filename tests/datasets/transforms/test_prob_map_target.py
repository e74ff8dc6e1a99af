# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import DefaultScope

from mmfrac.datasets.transforms.targets import ProbMapTarget, WindowTarget
from mmfrac.utils.geometry import box_corners, project, rasterise_convex


def results(boxes, homography=None, shape=(32, 32), ori_shape=(32, 32)):
    made = dict(
        img_shape=shape,
        ori_shape=ori_shape,
        instances=[dict(bbox=list(box), bbox_label=0, ignore_flag=0) for box in boxes],
    )
    if homography is not None:
        made['homography_matrix'] = np.asarray(homography, dtype=np.float32)
    return made


def test_cells_whose_centre_is_in_the_box():
    out = ProbMapTarget(stride=4)(results([[3, 6, 15, 11]]))
    # centres at 2, 6, 10, 14, ... px: columns 1..3, rows 1..2 (6 and 10)
    expected = np.zeros((8, 8), np.uint8)
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(out['gt_prob_map'], expected)
    assert out['valid_map'].all()


def test_tiny_lesion_keeps_a_cell():
    out = ProbMapTarget(stride=4)(results([[4.1, 8.1, 5.0, 9.0]]))
    assert out['gt_prob_map'].sum() == 1 and out['gt_prob_map'][2, 1] == 1


def test_scaled_film_with_padding():
    scale = [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]]
    out = ProbMapTarget(stride=4)(
        results([[0, 0, 16, 16]], scale, shape=(32, 32), ori_shape=(64, 32))
    )
    assert out['gt_prob_map'][:2, :2].all() and out['gt_prob_map'].sum() == 4
    assert out['valid_map'][:, :4].all() and not out['valid_map'][:, 4:].any()


def test_rotated_box_is_the_polygon_not_the_grown_box():
    rotation = np.vstack([cv2.getRotationMatrix2D((64, 64), 38, 1), [0, 0, 1]])
    out = ProbMapTarget(stride=4)(
        results([[44, 44, 84, 84]], rotation, shape=(128, 128), ori_shape=(128, 128))
    )
    area = int(out['gt_prob_map'].sum()) * 16
    assert area == pytest.approx(40 * 40, rel=0.08)
    assert out['valid_map'].sum() < out['valid_map'].size


def ignoring(found, *boxes):
    found['instances'] += [dict(bbox=list(box), bbox_label=0, ignore_flag=1) for box in boxes]
    return found


def test_cells_of_ignored_boxes_do_not_count():
    out = ProbMapTarget(stride=4)(ignoring(results([]), [0, 4, 12, 12], [21, 25, 22, 26]))
    expected = np.ones((8, 8), bool)
    # centres at 2, 6, 10 px; the tiny box keeps the cell of its centre, (21.5, 25.5) px
    expected[1:3, 0:3] = False
    expected[6, 5] = False
    np.testing.assert_array_equal(out['valid_map'], expected)
    assert not out['gt_prob_map'].any()


def test_a_lesion_counts_within_an_ignored_box():
    out = ProbMapTarget(stride=4)(ignoring(results([[4, 4, 12, 12]]), [0, 0, 8, 8]))
    target, valid = np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)
    target[1:3, 1:3] = 1
    valid[0:2, 0:2] = False
    valid[1, 1] = True
    np.testing.assert_array_equal(out['gt_prob_map'], target)
    np.testing.assert_array_equal(out['valid_map'], valid)


def test_ignored_boxes_move_with_the_film():
    mirror = [[-1, 0, 32], [0, 1, 0], [0, 0, 1]]
    out = ProbMapTarget(stride=4)(ignoring(results([], mirror), [0, 0, 8, 4]))
    expected = np.ones((8, 8), bool)
    expected[0, 6:] = False
    np.testing.assert_array_equal(out['valid_map'], expected)


def test_stride_that_is_not_set_is_4_and_0_is_none():
    assert ProbMapTarget()(results([]))['gt_prob_map'].shape == (8, 8)
    with pytest.raises(ValueError, match='stride must be a positive number of px, got 0'):
        ProbMapTarget(stride=0)


def test_input_that_is_no_multiple_of_the_stride_is_refused():
    with pytest.raises(ValueError, match='multiple'):
        ProbMapTarget(stride=4)(results([], shape=(30, 32)))


@settings(max_examples=200)
@given(
    st.lists(st.floats(-10, 40), min_size=4, max_size=4),
    st.floats(-180, 180),
    st.floats(0.3, 2),
    st.booleans(),
)
def test_rasterise_convex_equals_point_in_polygon_tests(values, angle, scale, mirrored):
    x1, x2 = sorted(values[:2])
    y1, y2 = sorted(values[2:])
    matrix = np.vstack([cv2.getRotationMatrix2D((15, 12), angle, scale), [0, 0, 1]])
    if mirrored:
        matrix = np.diag([-1.0, 1, 1]) @ matrix + np.array([[0, 0, 30], [0, 0, 0], [0, 0, 0]])
    corners = project(box_corners(np.array([x1, y1, x2, y2])), matrix)
    mask = rasterise_convex(corners, (20, 30))
    contour = corners.astype(np.float32)[:, None]
    for row in range(0, 20, 3):
        for column in range(0, 30, 3):
            distance = cv2.pointPolygonTest(contour, (column + 0.5, row + 0.5), True)
            if abs(distance) > 1e-3:
                assert mask[row, column] == (distance > 0)


TARGETS = [ProbMapTarget(), WindowTarget()]


def with_boxes(found, *boxes):
    boxes = np.reshape(boxes, (-1, 4))
    return found | dict(gt_bboxes=HorizontalBoxes(boxes, dtype=torch.float32), img_path='a.png')


@pytest.mark.parametrize('target', TARGETS, ids=repr)
def test_boxes_of_other_films_are_refused(target):
    own, other = [20, 4, 28, 12], [4, 4, 12, 12]
    for found, counts in [
        (with_boxes(results([]), other), '1 gt_bboxes for 0 instances'),
        (with_boxes(results([own]), own, other), '2 gt_bboxes for 1 instances'),
        (with_boxes(ignoring(results([]), own), own, other), '2 gt_bboxes for 1 instances'),
    ]:
        with pytest.raises(ValueError, match=rf'^a\.png: {counts}, .*Mosaic, MixUp'):
            target(found)


@pytest.mark.parametrize('target', TARGETS, ids=repr)
def test_boxes_may_be_left_out_or_clipped(target):
    found = ignoring(results([[20, 4, 28, 12], [-20, 4, -12, 12]]), [0, 20, 8, 28])
    for boxes in ([], [[20, 4, 28, 12]], [[20, 4, 28, 12], [0, 4, 0, 12], [0, 20, 8, 28]]):
        boxed = with_boxes(found, *boxes)
        target(boxed)
        # what LoadAnnotations gives without a box type
        target(boxed | dict(gt_bboxes=boxed['gt_bboxes'].numpy()))
    target(found | dict(gt_bboxes=None))


@pytest.mark.parametrize('name', ['Mosaic', 'MixUp'])
def test_a_data_set_that_mixes_films_is_refused(name, tiny_data):
    load = [
        dict(type='LoadRadiograph', channels=3),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='PadRadiograph', size=(96, 96)),
    ]
    films = dict(
        type='CXRDataset',
        data_root=str(tiny_data),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        subset='P_hos',
        pipeline=load,
    )
    pipeline = [
        dict(type=name, img_scale=(96, 96), pad_val=0.0),
        dict(type='Resize', scale=(96, 96), keep_ratio=False),
        dict(type='ProbMapTarget'),
    ]
    with DefaultScope.overwrite_default_scope('mmdet'):
        mixed = DATASETS.build(dict(type='MultiImageMixDataset', dataset=films, pipeline=pipeline))
        for index in range(len(mixed)):
            np.random.seed(index)
            with pytest.raises(
                ValueError, match=r'\d+ gt_bboxes for \d+ instances, .*Mosaic, MixUp'
            ):
                mixed[index]
