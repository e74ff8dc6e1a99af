# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from mmengine.structures import InstanceData

from mmfrac.evaluation.functional.records import image_record
from mmfrac.utils.io import write_image
from mmfrac.utils.prob_map import component_boxes
from mmfrac.visualization.overlay import (
    FALSE_MAGENTA,
    FOUND_WHITE,
    GT_GREEN,
    compare_overlays,
    contact_sheet,
    draw_overlay,
    heat_colours,
)


def found(*boxes_and_scores):
    boxes = torch.tensor([box for box, _ in boxes_and_scores], dtype=torch.float32).reshape(-1, 4)
    return InstanceData(bboxes=boxes, scores=torch.tensor([s for _, s in boxes_and_scores]))


def has_colour(picture, colour):
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def test_film_alone_is_grey_and_of_its_size():
    plane = np.linspace(0, 1, 20 * 30, dtype=np.float32).reshape(20, 30)
    picture = draw_overlay(plane)
    assert picture.shape == (20, 30, 3) and picture.dtype == np.uint8
    expected = np.round(plane * 255).astype(np.uint8)
    assert all(np.array_equal(picture[..., channel], expected) for channel in range(3))


def test_heat_lies_where_the_map_is_hot_and_nowhere_else():
    plane = np.full((60, 120), 0.4, np.float32)
    prob_map = np.full((12, 12), 0.04, np.float32)
    prob_map[2:4, 7:9] = 0.9
    # 10 px a cell in x, 5 in y: the hot cells cover x 70..90, y 10..20
    coloured = np.ptp(draw_overlay(plane, prob_map, (10.0, 5.0)).astype(int), axis=2) > 0
    assert coloured[10:20, 70:90].all()
    # interpolation reaches half a cell further
    coloured[10 - 3 : 20 + 3, 70 - 5 : 90 + 5] = False
    assert not coloured.any()


def test_colours_of_probabilities():
    probabilities = np.linspace(0, 1, 11)[:, None]
    found = heat_colours(probabilities)
    assert found.shape == (11, 1, 3) and found.dtype == np.uint8
    # the upper two thirds of the palette; 1 is its pale yellow
    assert found[-1, 0].tolist() == [252, 255, 164]
    expected = 255 * colormaps['inferno'](0.33 + 0.67 * probabilities)[..., :3]
    np.testing.assert_allclose(found, expected, atol=3)


def test_hotter_is_brighter_and_more_opaque():
    plane = np.zeros((40, 40), np.float32)
    light = [
        draw_overlay(plane, np.full((10, 10), prob, np.float32), (4.0, 4.0))[20, 20].sum()
        for prob in (0.03, 0.1, 0.3, 0.6, 1.0)
    ]
    assert light[0] == 0
    assert (np.diff(np.array(light, int)) > 0).all()


def test_map_is_cropped_to_the_film_and_may_end_before_it():
    plane = np.full((21, 21), 0.5, np.float32)
    beyond = draw_overlay(plane, np.ones((7, 7), np.float32), (4.0, 4.0))
    assert beyond.shape == (21, 21, 3)
    assert (np.ptp(beyond.astype(int), axis=2) > 0).all()
    short = draw_overlay(plane, np.ones((2, 5), np.float32), (4.0, 4.0))
    coloured = np.ptp(short.astype(int), axis=2) > 0
    assert coloured[:8, :20].all() and not coloured[8:].any() and not coloured[:, 20:].any()


def test_boxes_are_scaled_with_the_picture():
    plane = np.zeros((200, 400), np.float32)
    picture = draw_overlay(plane, gt_boxes=[[40, 60, 120, 140]], instances=None, size=200)
    assert picture.shape == (100, 200, 3)
    rows, columns = np.nonzero(has_colour(picture, GT_GREEN)[:71])
    # film px / 2, the line within the edges
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 59, 30, 69)


def test_hit_lesion_is_solid_and_missed_one_dashed():
    plane = np.zeros((400, 400), np.float32)
    prob_map = np.zeros((100, 100), np.float32)
    prob_map[15, 15] = 0.5
    lesions = np.array([[40, 40, 82, 82], [240, 240, 282, 282]])
    picture = draw_overlay(plane, prob_map, (4.0, 4.0), lesions)
    green = has_colour(picture, GT_GREEN)
    assert green[40, 40:82].all() and green[40:82, 40].all()
    dashed = green[240, 240:282]
    assert dashed.any() and not dashed.all()
    assert picture[283:320, 240:].any(), 'the text "missed" stands below the box'
    assert not picture[83:200].any()


def test_the_cell_of_the_midpoint_decides_about_a_hit():
    plane = np.zeros((400, 400), np.float32)
    lesion = np.array([[40, 40, 80, 80]])
    for value, is_hit in ((0.3, True), (0.19, False)):
        prob_map = np.zeros((100, 50), np.float32)
        prob_map[60 // 4, 60 // 8] = value
        green = has_colour(draw_overlay(plane, prob_map, (8.0, 4.0), lesion), GT_GREEN)
        assert green[40, 40:80].all() == is_hit
    # hot all around, but not in that cell
    prob_map = np.ones((100, 50), np.float32)
    prob_map[15, 7] = 0
    green = has_colour(draw_overlay(plane, prob_map, (8.0, 4.0), lesion), GT_GREEN)
    assert not green[40, 40:80].all()


def test_false_positives_differ_from_found_lesions():
    plane = np.zeros((400, 400), np.float32)
    instances = found(
        ([50, 50, 90, 90], 0.9), ([200, 200, 250, 240], 0.8), ([300, 9, 340, 49], 0.1)
    )
    picture = draw_overlay(plane, gt_boxes=[[40, 40, 100, 100]], instances=instances)
    white, magenta = has_colour(picture, FOUND_WHITE), has_colour(picture, FALSE_MAGENTA)
    assert white[50, 50:90].all() and not magenta[:120].any()
    assert magenta[200, 200:204].all() and not white[120:].any()
    assert not (picture[:100, 290:] > 0).any(), 'a score below the threshold is not drawn'
    # without a map the boxes decide
    assert has_colour(picture, GT_GREEN)[40:100, 40].all()


def is_drawn_as_false(prob_map, scale, side, lesions, threshold=0.5):
    """Of each component of a map whether it is magenta, drawn alone on a film of ``side`` px."""
    plane = np.zeros((side, side), np.float32)
    boxes, scores = component_boxes(prob_map, scale, plane.shape, threshold)
    return [
        has_colour(
            draw_overlay(
                plane,
                prob_map,
                scale,
                lesions,
                dict(bboxes=box[None], scores=score[None]),
                10 * side,
                threshold,
            ),
            FALSE_MAGENTA,
        ).any()
        for box, score in zip(boxes, scores)
    ]


def test_a_component_that_reaches_beyond_the_film_is_false_where_the_metric_counts_it():
    # the last of 6 cells of 4 px covers 20..24 of 21 px: its centre, 22, lies beyond the lesion
    prob_map = np.zeros((6, 6), np.float32)
    prob_map[2, 5] = 0.9
    lesion = np.array([[15, 6, 21, 14]])
    assert image_record(prob_map, lesion, (4.0, 4.0)).false_positives_at(0.5) == 1
    assert is_drawn_as_false(prob_map, (4.0, 4.0), 21, lesion) == [True]
    # that of a film of 24 px lies in it
    assert is_drawn_as_false(prob_map, (4.0, 4.0), 24, [[15, 6, 24, 14]]) == [False]


@pytest.mark.parametrize('side', [17, 20, 21, 23])
def test_as_many_components_are_false_as_the_metric_counts(side):
    rng = np.random.default_rng(side)
    for scale in ((4.0, 4.0), (10 / 3, 64 / 15)):
        shape = [int(np.ceil(side / size)) for size in scale[::-1]]
        for _ in range(5):
            prob_map = (rng.random(shape) > 0.6).astype(np.float32)
            corners = np.sort(rng.integers(0, side + 1, (2, 2, 2)), axis=1)
            lesions = corners.reshape(2, 4)
            record = image_record(prob_map, lesions, scale)
            false = is_drawn_as_false(prob_map, scale, side, lesions)
            assert sum(false) == record.false_positives_at(0.5)


def test_nothing_is_false_on_a_film_of_unknown_lesions():
    plane = np.zeros((100, 100), np.float32)
    instances = found(([20, 20, 60, 60], 0.9))
    assert not has_colour(draw_overlay(plane, instances=instances), FALSE_MAGENTA).any()
    known_to_have_none = draw_overlay(plane, gt_boxes=np.zeros((0, 4)), instances=instances)
    assert has_colour(known_to_have_none, FALSE_MAGENTA).any()


def test_lines_and_text_grow_with_the_film():
    def marked(side):
        box = np.array([[0.3, 0.3, 0.6, 0.6]]) * side
        picture = draw_overlay(np.zeros((side, side), np.float32), gt_boxes=box)
        return has_colour(picture, GT_GREEN).sum() / side**2

    # the same share of the film, that is lines four times as thick
    assert marked(2400) == pytest.approx(marked(600), rel=0.35)


def test_box_smaller_than_a_pixel_and_box_at_the_edge_are_drawn():
    plane = np.zeros((1000, 1000), np.float32)
    boxes = np.array([[400.2, 400.2, 400.9, 401], [990, 990, 1000, 1000]])
    green = has_colour(draw_overlay(plane, gt_boxes=boxes, size=100), GT_GREEN)
    assert green[40, 40] and green[99, 99]


def test_wrong_shapes_are_refused():
    plane = np.zeros((10, 10), np.float32)
    with pytest.raises(ValueError, match='one plane'):
        draw_overlay(np.zeros((10, 10, 3), np.float32))
    with pytest.raises(ValueError, match='map_scale'):
        draw_overlay(plane, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r'prob map is \(h, w\)'):
        draw_overlay(plane, np.zeros((2, 2, 2)), (5.0, 5.0))


def test_contact_sheet_places_each_picture():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [np.full((20, 30, 3), colour, np.uint8) for colour in colours]
    sheet = contact_sheet(pictures, 2)
    assert sheet.shape == (42, 62, 3)
    for (x, y), colour in zip([(0, 0), (32, 0), (0, 22)], colours):
        assert (sheet[y : y + 20, x : x + 30] == colour).all()
    assert not sheet[22:, 32:].any()
    titled = contact_sheet(pictures, 2, ['a', 'b', 'c'])
    assert titled.shape[0] > 42 and (titled[:14] > 150).all(axis=2).any()
    with pytest.raises(ValueError, match='titles'):
        contact_sheet(pictures, 2, ['a'])
    with pytest.raises(ValueError, match='needs pictures'):
        contact_sheet([], 2)


class TestOverlaysOfSeveralModels:
    @pytest.fixture
    def folders(self, tmp_path):
        """Three images of two models, which differ by 0, 40 and 80 grey values; one is of one model."""
        for model, factor in (('a', 0), ('b', 40)):
            for index in range(3):
                grey = np.full((20, 20, 3), 100 + factor * index, np.uint8)
                write_image(tmp_path / model / f'{index}.png', grey)
        write_image(tmp_path / 'a' / 'more.png', grey)
        return {name: tmp_path / name for name in ('a', 'b')}

    def test_those_that_differ_most_come_first(self, folders, tmp_path):
        out = compare_overlays(folders, tmp_path / 'out.png', number=2)
        sheet = cv2.imread(str(out))
        pictures = [np.full((20, 20, 3), value, np.uint8) for value in (100, 180, 100, 140)]
        expected = contact_sheet(pictures, 2, ['a: 2', 'b: 2', 'a: 1', 'b: 1'])
        assert np.array_equal(sheet[..., ::-1], expected)

    def test_what_cannot_be_compared_is_said(self, folders, tmp_path):
        with pytest.raises(ValueError, match='two folders and one image'):
            compare_overlays(dict(a=folders['a']), tmp_path / 'out.png')
        write_image(tmp_path / 'c' / 'other.png', np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(FileNotFoundError, match='no overlay of the same name'):
            compare_overlays(folders | dict(c=tmp_path / 'c'), tmp_path / 'out.png')
