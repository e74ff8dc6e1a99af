# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.models.losses.noisy_or_loss import NoisyOrLoss, log_noisy_or
from tests.models.small_model import build, collate, detector_cfg, film


def logit(*probabilities):
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64)).float()


def loss_of(probabilities, target, label, known, valid=None, **options):
    shape = (1, 1, 2, 4)
    valid = torch.ones(shape, dtype=torch.bool) if valid is None else valid.view(shape)
    return NoisyOrLoss(**options)(
        logit(*probabilities).view(shape),
        torch.tensor(target, dtype=torch.uint8).view(shape),
        valid,
        torch.tensor([label]),
        torch.tensor([known]),
    ).item()


# four cells of the map in each of the two cells of the grid, whose maxima are 0.5 and 0.25
PROBABILITIES = (0.1, 0.5, 0.25, 0.2, 0.3, 0.4, 0.1, 0.1)
EMPTY = (0, 0, 0, 0, 0, 0, 0, 0)
BOX = (0, 1, 0, 0, 0, 0, 0, 0)


def test_the_three_forms_by_hand():
    def grid_of(*values):
        return loss_of(PROBABILITIES, *values, grid=1, box_weight=3.0)

    # one cell with the maximum, 0.5
    assert grid_of(EMPTY, 1, False) == pytest.approx(-math.log(0.5))
    assert grid_of(EMPTY, 0, True) == pytest.approx(-math.log(0.5))
    assert grid_of(BOX, 1, True) == pytest.approx(-3 * math.log(0.5))

    def halves(*values):  # 2 x 2 cells: maxima of the columns' pairs in each row
        return loss_of(PROBABILITIES, *values, grid=2, box_weight=3.0)

    maxima = (0.5, 0.25, 0.4, 0.1)
    none = math.prod(1 - p for p in maxima)
    assert halves(EMPTY, 1, False) == pytest.approx(-math.log(1 - none))
    assert halves(EMPTY, 0, True) == pytest.approx(-math.log(none))
    in_box = -math.log(0.5) - sum(math.log(1 - p) for p in maxima[1:])
    assert halves(BOX, 1, True) == pytest.approx(3 * in_box)


def test_padding_and_unknown_labels_do_not_count():
    valid = torch.tensor([True, False, True, True] * 2)
    # without 0.5 and 0.4
    found = loss_of(PROBABILITIES, EMPTY, 0, True, valid=valid, grid=1)
    assert found == pytest.approx(-math.log(0.7))
    assert loss_of(PROBABILITIES, EMPTY, -1, False, grid=1) == 0
    assert loss_of(PROBABILITIES, EMPTY, 1, False, valid=~torch.ones(8).bool(), grid=1) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=12))
def test_log_noisy_or_is_that_of_double_precision(values):
    found = log_noisy_or(torch.tensor([values], dtype=torch.float32)).item()
    total = math.fsum(math.log1p(math.exp(-abs(v))) + max(v, 0) for v in values)
    assert found == pytest.approx(math.log(-math.expm1(-total)), rel=1e-4, abs=1e-6)


def test_gradients_are_finite_at_any_logit():
    for value in (-1e4, -100.0, -15.0, 0.0, 15.0, 1e4):
        logits = torch.full((1, 4), value, requires_grad=True)
        log_noisy_or(logits).sum().backward()
        assert logits.grad.isfinite().all()
        if value < 0:  # d log(sum p) / dx: the cells share the gradient
            torch.testing.assert_close(logits.grad.sum(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_films_without_boxes_train_a_detector():
    plain, noisy = (
        build(detector_cfg(loss=loss)).train()
        for loss in (dict(type='WeightedBCELoss', alpha_l=1.0), dict(type='NoisyOrLoss'))
    )
    weights = []
    for model in (plain, noisy):
        data = model.data_preprocessor(collate([film('c', regions=False)]), training=True)
        model(**data, mode='loss')['loss_sup'].backward()
        weights.append(model.prob_map_head.logit_conv.weight.grad.abs().sum().item())
    assert weights[0] == 0 and weights[1] > 0


def test_bad_options():
    for options in (dict(grid=0), dict(box_weight=0.0)):
        with pytest.raises(ValueError, match=next(iter(options))):
            NoisyOrLoss(**options)
