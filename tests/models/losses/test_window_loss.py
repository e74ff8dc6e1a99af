# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest
import torch

from mmfrac.models.losses import WindowLoss

LABELS = torch.tensor([1])


def rows(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, len(values[0]))


def test_by_hand():
    # p = 0.75 below (1, 1), within (0, 1), above (0, 0), above (0.2, 0.5), below (0.9, 1); padding
    logits = torch.full((1, 1, 1, 6), math.log(3))
    target = rows((1.0, 0.0, 0.0, 0.2, 0.9, 1.0), (1.0, 1.0, 0.0, 0.5, 1.0, 1.0))
    valid = torch.tensor([True] * 5 + [False]).view(1, 1, 1, 6)

    def kld(q, p):
        return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))

    below = -math.log(0.75) + kld(0.9, 0.75)
    above = -math.log(0.25) + kld(0.5, 0.75)
    found = WindowLoss(alpha_r=3.0)(logits, target, valid, LABELS)
    assert found.item() == pytest.approx((3 * below + above) / 5, rel=1e-5)
    total = WindowLoss(alpha_r=1.0, reduction='sum', loss_weight=2.0)(logits, target, valid, LABELS)
    assert total.item() == pytest.approx(2 * (below + above), rel=1e-5)


def test_gradient_pushes_into_the_window_and_is_zero_within():
    logits = torch.tensor([-100.0, -1.0, 0.0, 100.0]).view(1, 1, 1, 4).requires_grad_()
    target = rows((1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0))
    valid = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    WindowLoss()(logits, target, valid, LABELS).backward()
    gradient = logits.grad.flatten().tolist()
    assert gradient[0] < 0 < gradient[3] and gradient[1] == gradient[2] == 0


def test_a_mask_is_no_pair_of_bounds():
    mask = torch.zeros(1, 1, 1, 4)
    with pytest.raises(ValueError, match='WindowTarget in the place of ProbMapTarget'):
        WindowLoss()(mask, mask, mask.bool(), LABELS)
    with pytest.raises(ValueError, match='alpha_r'):
        WindowLoss(alpha_r=0)
