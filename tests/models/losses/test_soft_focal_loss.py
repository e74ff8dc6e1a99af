# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest
import torch

from mmfrac.models.losses import SoftFocalLoss


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_by_hand():
    # p = 0.75, y = 0.5: [0.05 + 0.5 * 0.9] * 0.25 ** 2 * CE; p = 0.5, y = 0; the last is padding
    logits = row(math.log(3), 0.0, 7.0)
    valid = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    first = 0.5 * 0.0625 * -(0.5 * math.log(0.75) + 0.5 * math.log(0.25))
    second = 0.05 * 0.25 * math.log(2)
    found = SoftFocalLoss()(logits, row(0.5, 0.0, 0.0), valid)
    assert found.item() == pytest.approx((first + second) / 2)
    total = SoftFocalLoss(reduction='sum', loss_weight=2)(logits, row(0.5, 0.0, 0.0), valid)
    assert total.item() == pytest.approx(2 * (first + second))


def test_other_constants():
    # b = 0 and equal weights: the cross-entropy
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    found = SoftFocalLoss(a0=1.0, a1=1.0, b=0.0)(row(math.log(3)), row(1.0), valid)
    assert found.item() == pytest.approx(-math.log(0.75))


def test_a_root_has_gradients_where_prediction_and_target_agree():
    logits = torch.tensor([20.0, -120.0], requires_grad=True)
    loss = SoftFocalLoss(b=0.5).cells(logits, torch.tensor([1.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


def test_is_finite_with_gradients_everywhere():
    logits = row(-100.0, 0.0, 100.0).requires_grad_()
    valid = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    SoftFocalLoss()(logits, row(1.0, 0.5, 0.0), valid).backward()
    assert logits.grad.isfinite().all() and logits.grad[..., 0] < 0 < logits.grad[..., 2]


@pytest.mark.parametrize('options', [dict(a0=-1.0), dict(b=-1.0), dict(reduction='none')])
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SoftFocalLoss(**options)
