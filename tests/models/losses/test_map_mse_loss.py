# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch

from mmfrac.models.losses import MapMSELoss


def test_by_hand():
    # sigmoid(log 3) = 0.75; the last cell is padding
    logits = torch.tensor([0.0, 3.0, 9.0]).log().view(1, 1, 1, 3).clamp(min=-100)
    pseudo_map = torch.tensor([0.5, 0.25, 0.0]).view(1, 1, 1, 3)
    valid = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    assert MapMSELoss()(logits, pseudo_map, valid).item() == pytest.approx((0.25 + 0.25) / 2)
    total = MapMSELoss(reduction='sum', loss_weight=3)(logits, pseudo_map, valid)
    assert total.item() == pytest.approx(1.5)


def test_is_finite_with_gradients_everywhere():
    logits = torch.tensor([-100.0, 0.0, 100.0]).view(1, 1, 1, 3).requires_grad_()
    valid = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    MapMSELoss()(logits, torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3), valid).backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 0, 0, 1] < 0


def test_bad_reduction():
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        MapMSELoss(reduction='none')
