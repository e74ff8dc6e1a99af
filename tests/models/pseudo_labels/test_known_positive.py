# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

from mmfrac.models.pseudo_labels import lift_maximum


def test_by_hand():
    y = torch.tensor([[0.1, 0.04], [0.8, 0.6], [0.0, 0.0]]).view(3, 1, 1, 2)
    found = lift_maximum(y, torch.tensor([0.1, 0.8, 0.0]), 0.5).view(3, 2)
    # 0.1 -> 0.5 takes 0.04 along; what is above the floor, and zero, stay
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.2], [0.8, 0.6], [0.0, 0.0]]))


def test_the_order_of_cells_is_kept_and_nothing_leaves_the_unit_interval():
    y = torch.rand(20, 1, 6, 5, generator=torch.manual_seed(0)) ** 6
    lifted = lift_maximum(y, y.flatten(1).amax(1), 0.5)
    assert torch.equal(lifted.flatten(1).argsort(), y.flatten(1).argsort())
    assert lifted.min() >= 0 and lifted.max() <= 1
    assert (lifted.flatten(1).amax(1) >= 0.5 - 1e-6).all()


def test_a_peak_in_the_padding_is_none():
    sample = DetDataSample(metainfo=dict(img_path='film'))
    sample.gt_prob_map = PixelData(valid=torch.tensor([[[True, False]]]))
    step = MODELS.build(dict(type='KnownPositive', floor=0.5))
    maps = torch.tensor([[[[0.25, 0.9]]]])
    found, _ = step(maps, torch.ones_like(maps), [sample], [sample])
    torch.testing.assert_close(found, torch.tensor([[[[0.5, 1.0]]]]))


@pytest.mark.parametrize('floor', [0.0, 1.1, -1])
def test_wrong_floors_are_refused(floor):
    with pytest.raises(ValueError, match='floor must lie in'):
        MODELS.build(dict(type='KnownPositive', floor=floor))
