# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The assignment of Consistent-Teacher, by hand: anchors of 32 px, so cells of 4 px."""

import math

import pytest
import torch
from mmengine.structures import InstanceData

from mmfrac.models import AdaptiveSampleAssigner


def assigned(anchors, boxes, probs, gts=((0, 0, 32, 32),), ignored=None, **options):
    """Box (from 1) and IoU of each anchor, given by its centre; of class 0 where not said otherwise."""
    anchors = [(x - 16, y - 16, x + 16, y + 16) for x, y in anchors]
    probs = torch.tensor(probs).float()
    predicted = InstanceData(
        priors=torch.tensor(anchors).float(),
        bboxes=torch.tensor(boxes).float(),
        scores=probs[:, None] if probs.dim() == 1 else probs,
    )
    truth = InstanceData(
        bboxes=torch.tensor(gts).float().reshape(-1, 4), labels=torch.zeros(len(gts)).long()
    )
    if ignored:
        ignored = InstanceData(bboxes=torch.tensor(ignored).float())
    result = AdaptiveSampleAssigner(**options).assign(predicted, truth, ignored, 1, 6)
    assert torch.equal(result.assign_metrics, result.max_overlaps)
    assert torch.equal(result.labels >= 0, result.gt_inds > 0)
    return result.gt_inds.tolist(), result.max_overlaps.tolist()


def of_height(*heights):
    """Boxes that share this height with a true one of 32 px: their IoU is a 32nd of it."""
    return [(0, 0, 32, height) for height in heights]


MIDDLE = (16, 16)


def test_focal_cost_by_hand():
    cost = AdaptiveSampleAssigner().class_cost(torch.tensor([[0.9, 0.2]]), torch.tensor([0, 1]))
    first = 0.25 * 0.1**2 * -math.log(0.9) + 0.75 * 0.2**2 * -math.log(0.8)
    second = 0.25 * 0.8**2 * -math.log(0.2) + 0.75 * 0.9**2 * -math.log(0.1)
    assert cost[0].tolist() == pytest.approx([first, second], rel=1e-4)
    extreme = AdaptiveSampleAssigner().class_cost(torch.tensor([[0.0], [1.0]]), torch.tensor([0]))
    assert torch.isfinite(extreme).all()


def test_as_many_as_the_ious_add_up_to():
    # 1 + 0.75 + 0.5 + 0.25 = 2.5, so two; the last anchor has its centre outside
    anchors = [MIDDLE] * 4 + [(40, 16)]
    inds, ious = assigned(anchors, of_height(8, 32, 16, 24, 32), [0.5] * 5)
    assert inds == [0, 1, 0, 1, 0] and ious == pytest.approx([0, 1, 0, 0.75, 0])
    # of the greatest two IoUs alone: 1.75
    inds, _ = assigned(anchors, of_height(8, 32, 16, 24, 32), [0.5] * 5, topk=2)
    assert inds == [0, 1, 0, 0, 0]


def test_at_least_one_and_the_surest_of_equal_ones():
    inds, ious = assigned([MIDDLE] * 3, of_height(8, 8, 8), [0.1, 0.6, 0.3])
    assert inds == [0, 1, 0] and ious == pytest.approx([0, 0.25, 0])


@pytest.mark.parametrize(
    ('iou_weight', 'expected'),
    [
        # 0.0003 + 2 * 0.693 = 1.387 above 0.258 + 2 * 0.470 = 1.197
        (2.0, [0, 1]),
        # 0.0003 + 0.2 * 0.693 = 0.139 below 0.258 + 0.2 * 0.470 = 0.352
        (0.2, [1, 0]),
    ],
)
def test_weight_of_regression(iou_weight, expected):
    # IoU 0.5 and 0.625, together 1.125
    boxes = of_height(16, 20)
    inds, _ = assigned([MIDDLE] * 2, boxes, [0.9, 0.2], iou_weight=iou_weight)
    assert inds == expected


@pytest.mark.parametrize(
    ('offset', 'scale', 'expected'),
    [
        # 0.001 * 10^2 - 2 ln 0.875 = 0.37 below 0.001 - 2 ln 0.625 = 0.94
        (8, 8.0, [1, 0]),
        # 0.001 * 10^3 = 1 more
        (12, 8.0, [0, 1]),
        # cells of 8 px
        (12, 4.0, [1, 0]),
    ],
)
def test_distance_of_centres(offset, scale, expected):
    # IoU 0.875 and 0.625, together 1.5
    anchors = [(16 + offset, 16), MIDDLE]
    inds, _ = assigned(anchors, of_height(28, 20), [0.5, 0.5], anchor_scale=scale)
    assert inds == expected


def test_an_anchor_goes_to_the_box_of_least_cost():
    gts = [(0, 0, 32, 32), (0, 8, 32, 40)]
    # IoU 0.6 and 1 of one prediction, 0.5 and 0.5 of the other: both boxes take the one
    inds, ious = assigned([(16, 20)] * 2, [(0, 8, 32, 40), (0, 8, 32, 24)], [0.5, 0.5], gts)
    assert inds == [2, 0] and ious == pytest.approx([1, 0])


def test_without_boxes_all_is_background_but_what_is_ignored():
    anchors = [MIDDLE, (60, 60)]
    nothing = [(0, 0, 1, 1)] * 2
    assert assigned(anchors, nothing, [0.5, 0.5], gts=()) == ([0, 0], [0, 0])
    inds, _ = assigned(anchors, nothing, [0.5, 0.5], gts=(), ignored=[(50, 50, 70, 70)])
    assert inds == [0, -1]
    # a lesion in an ignored box is a lesion
    inds, _ = assigned(anchors[:1], of_height(32), [0.5], ignored=[(0, 0, 32, 32)])
    assert inds == [1]


@pytest.mark.parametrize(
    'options', [dict(anchor_scale=0), dict(topk=0), dict(iou_weight=-1.0), dict(alpha=2.0)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))}.*got'):
        AdaptiveSampleAssigner(**options)
