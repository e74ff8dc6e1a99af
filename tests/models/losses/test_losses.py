# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.runner import load_state_dict

from mmfrac.models.losses import KLDLoss, MapMSELoss, SoftFocalLoss, WeightedBCELoss

ALL = torch.ones(1, 1, 1, 2, dtype=torch.bool)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_weighted_bce_by_hand():
    logits = torch.tensor([[[[logit(0.8), logit(0.3)]]]])
    target = torch.tensor([[[[1, 0]]]], dtype=torch.uint8)
    loss = WeightedBCELoss(alpha_r=10, alpha_l=(1, 3), reduction='sum')
    expected = -3 * (10 * math.log(0.8) + math.log(0.7))
    assert loss(logits, target, ALL, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-5)
    mean = WeightedBCELoss(alpha_r=10, alpha_l=(1, 3))
    assert mean(logits, target, ALL, torch.tensor([1])).item() == pytest.approx(
        expected / 2, rel=1e-5
    )
    one = WeightedBCELoss(alpha_r=10, alpha_l=1.0, reduction='sum')
    assert one(logits, target, ALL, torch.tensor([1])).item() == pytest.approx(
        expected / 3, rel=1e-5
    )


def test_cells_that_do_not_count_do_not_count():
    logits = torch.tensor([[[[logit(0.8), math.inf]]]], requires_grad=True)
    target = torch.tensor([[[[1.0, 0.0]]]])
    valid = torch.tensor([[[[True, False]]]])
    loss = WeightedBCELoss(alpha_r=1, alpha_l=1.0)(logits, target, valid, torch.tensor([1]))
    assert loss.item() == pytest.approx(-math.log(0.8), rel=1e-5)
    none = WeightedBCELoss(alpha_l=1.0)(logits, target, ~valid & valid, torch.tensor([1]))
    assert none.item() == 0


@given(st.integers(1, 10000), st.integers(1, 10000))
def test_auto_alpha_l_is_inverse_frequency_with_mean_one(negatives, positives):
    loss = WeightedBCELoss(alpha_l=1.0)
    loss.set_class_counts(negatives, positives)
    low, high = loss.alpha_l.tolist()
    assert (negatives * low + positives * high) / (negatives + positives) == pytest.approx(1)
    assert high / low == pytest.approx(negatives / positives, rel=1e-4)


def test_auto_alpha_l_with_one_class():
    loss = WeightedBCELoss(alpha_l=1.0)
    loss.set_class_counts(7, 0)
    assert loss.alpha_l.tolist() == [1, 1]


@pytest.mark.parametrize('load', [torch.nn.Module.load_state_dict, load_state_dict])
def test_a_checkpoint_does_not_change_alpha_l_of_the_config(load):
    state = OrderedDict({'0.alpha_l': torch.tensor([2.0, 0.5])})
    model = torch.nn.Sequential(WeightedBCELoss(alpha_l=(1, 3)))
    load(model, state, strict=True)
    assert model[0].alpha_l.tolist() == [1, 3]
    assert state['0.alpha_l'].tolist() == [2, 0.5]
    # one that names no weights is no reason to fail
    load(model, OrderedDict(), strict=True)
    assert model[0].alpha_l.tolist() == [1, 3]
    # what was counted for training is known without it, too
    counted = torch.nn.Sequential(WeightedBCELoss(alpha_l='auto'))
    load(counted, state, strict=True)
    assert counted[0].alpha_l.tolist() == [2, 0.5]


@pytest.mark.parametrize(
    'options', [dict(alpha_l='balanced'), dict(alpha_r=0), dict(reduction='none')]
)
def test_weighted_bce_refuses_unknown_options(options):
    with pytest.raises(ValueError, match='must be'):
        WeightedBCELoss(**options)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_kld_equals_the_papers_equation(pseudo, student):
    logits = torch.full((1, 1, 1, 2), logit(student))
    expected = pseudo * math.log(pseudo / student) + (1 - pseudo) * math.log(
        (1 - pseudo) / (1 - student)
    )
    loss = KLDLoss(reduction='sum')(logits, torch.full((1, 1, 1, 2), pseudo), ALL)
    assert loss.item() == pytest.approx(2 * expected, abs=2e-5)


def test_kld_is_finite_at_the_ends_and_zero_for_equal_maps():
    logits = torch.tensor([[[[-200.0, 200.0]]]], requires_grad=True)
    for pseudo in ([0.0, 1.0], [1.0, 0.0]):
        loss = KLDLoss()(logits, torch.tensor([[[pseudo]]]), ALL)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    logits = torch.randn(2, 1, 4, 4)
    valid = torch.ones_like(logits, dtype=torch.bool)
    assert KLDLoss()(logits, logits.sigmoid(), valid).item() == pytest.approx(0, abs=1e-6)


def test_alpha_r_weighs_the_cells_of_the_pseudo_map():
    logits = torch.tensor([[[[0.3, -0.7, 1.2]]]])
    pseudo_map = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    valid = torch.ones_like(logits, dtype=torch.bool)
    cells = [
        KLDLoss(reduction='sum')(logits[..., i : i + 1], pseudo_map[..., i : i + 1], valid[..., :1])
        for i in range(3)
    ]
    found = KLDLoss(reduction='sum', alpha_r=10.0)(logits, pseudo_map, valid)
    assert found.item() == pytest.approx((cells[0] + 5.5 * cells[1] + 10 * cells[2]).item())
    with pytest.raises(ValueError, match='alpha_r must be positive'):
        KLDLoss(alpha_r=0)


def test_losses_stay_in_fp32_under_amp():
    logits = torch.tensor([[[[9.0, -12.0]]]], dtype=torch.bfloat16)
    target = torch.tensor([[[[0.0, 1.0]]]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        kld = KLDLoss()(logits, target, ALL)
        bce = WeightedBCELoss(alpha_l=1.0)(logits, target, ALL, torch.tensor([1]))
    assert kld.dtype == bce.dtype == torch.float32
    assert kld.item() == pytest.approx((9.000123 + 12.000006) / 2, rel=1e-5)


@pytest.mark.parametrize('kind', [KLDLoss, MapMSELoss, SoftFocalLoss])
def test_semi_losses_of_half_precision_maps_are_computed_in_fp32(kind):
    loss = kind()
    torch.manual_seed(0)
    logits, pseudo_map = torch.randn(2, 1, 4, 4).half(), torch.rand(2, 1, 4, 4).half()
    valid = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    value = loss(logits, pseudo_map, valid)
    assert value.dtype == torch.float32
    expected = loss(logits.float(), pseudo_map.float(), valid)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
