# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import numpy as np
import torch

from mmfrac.models.postprocess import component_options, components
from mmfrac.utils.prob_map import component_boxes


def test_components_by_hand():
    prob_map = torch.zeros(6, 8)
    prob_map[1, 1], prob_map[2, 2] = 0.5, 0.9  # touch at a corner: one component
    prob_map[4, 6:8] = 0.7
    prob_map[0, 7] = 0.19  # below the threshold
    found = components(prob_map, (4.0, 2.0), (11, 31), component_thr=0.2)
    np.testing.assert_allclose(found.bboxes, [[4, 2, 12, 6], [24, 8, 31, 10]])
    np.testing.assert_allclose(found.scores, [0.9, 0.7], rtol=1e-6)
    assert found.labels.tolist() == [0, 0]


def test_cells_that_touch_at_a_corner_are_two_of_connectivity_4():
    cells = np.zeros((3, 3), np.float32)
    cells[0, 0], cells[1, 1], cells[2, 1] = 0.5, 0.75, 0.25
    boxes, scores = component_boxes(cells, (2.0, 2.0), (6, 6), connectivity=4)
    assert boxes.tolist() == [[2, 2, 4, 6], [0, 0, 2, 2]] and scores.tolist() == [0.75, 0.5]
    assert component_boxes(cells, (2.0, 2.0), (6, 6))[0].tolist() == [[0, 0, 4, 6]]


def test_highest_scores_are_kept():
    prob_map = torch.zeros(9, 9)
    prob_map[::4, ::4] = torch.linspace(0.3, 0.9, 9).view(3, 3)
    found = components(prob_map, (1, 1), (9, 9), max_per_img=2)
    np.testing.assert_allclose(found.scores, [0.9, 0.825], rtol=1e-6)


def test_empty_map():
    found = components(torch.zeros(3, 3), (1, 1), (3, 3))
    assert found.bboxes.shape == (0, 4) and found.scores.shape == (0,)


def test_options_of_a_model_are_its_own_or_the_usual_ones():
    usual = dict(component_thr=0.2, max_per_img=100)
    own = SimpleNamespace(test_cfg=dict(component_thr=0.4, max_per_img=3, nms_pre=9))
    assert component_options(SimpleNamespace(student=own, test_cfg=dict(max_per_img=5))) == dict(
        component_thr=0.4, max_per_img=3
    )
    for test_cfg in ([dict(max_per_img=1)], dict(max_per_img=None), None):
        assert component_options(SimpleNamespace(test_cfg=test_cfg)) == usual
