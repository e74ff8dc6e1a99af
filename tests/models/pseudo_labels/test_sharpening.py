# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

from mmfrac.models.pseudo_labels.sharpening import (
    DynamicSharpening,
    dynamic_sharpen,
    sharpening_parameters,
)


def as_in_the_paper(y: float, t: float, a: float) -> float:
    if y <= t:
        return y**a / t ** (a - 1)
    return (y - t) ** (1 / a) / (1 - t) ** (1 / a - 1) + t


def test_dynamic_sharpen_by_hand():
    y = torch.tensor([0.0, 0.2, 0.4, 1.0], dtype=torch.float64)
    # 0.2^4 / 0.4^3 = 0.0016 / 0.064
    expected = torch.tensor([0.0, 0.025, 0.4, 1.0], dtype=torch.float64)
    torch.testing.assert_close(dynamic_sharpen(y, 0.4, 4), expected)
    # (0.55 - 0.4)^(1/4) * 0.6^(3/4) + 0.4
    above = dynamic_sharpen(torch.tensor(0.55, dtype=torch.float64), 0.4, 4).item()
    assert above == pytest.approx(0.15**0.25 * 0.6**0.75 + 0.4)


@given(st.floats(0, 1), st.floats(0.05, 0.95), st.floats(1, 8))
def test_dynamic_sharpen_equals_the_papers_equation(y, t, a):
    value = dynamic_sharpen(torch.tensor(y, dtype=torch.float64), t, a).item()
    assert value == pytest.approx(as_in_the_paper(y, t, a), abs=1e-9)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(('t', 'a'), [(0.2, 6), (0.35, 6), (0.4, 4), (0.5, 4)])
def test_dynamic_sharpen_keeps_ends_centre_order_and_dtype(t, a, dtype):
    y = torch.linspace(0, 1, 1001, dtype=torch.float64).to(dtype)
    sharp = dynamic_sharpen(y, t, a)
    assert sharp.dtype == dtype and sharp.shape == y.shape
    assert sharp[0] == 0 and sharp[-1] == 1
    assert torch.isfinite(sharp).all() and (sharp >= 0).all() and (sharp <= 1).all()
    assert (sharp.double().diff() >= -1e-3 * (dtype == torch.float16)).all()
    centre = dynamic_sharpen(torch.tensor(t, dtype=dtype), t, a)
    assert centre.item() == pytest.approx(t, abs=2e-3)


def test_dynamic_sharpen_takes_buffers():
    y = torch.rand(2, 1, 5, 5)
    as_numbers = dynamic_sharpen(y, 0.3, 6)
    torch.testing.assert_close(as_numbers, dynamic_sharpen(y, torch.tensor(0.3), torch.tensor(6.0)))


@pytest.mark.parametrize(('t', 'a'), [(0, 4), (1, 4), (-0.1, 4), (0.4, 0.5), (math.nan, 4)])
def test_dynamic_sharpen_refuses_parameters_out_of_range(t, a):
    with pytest.raises(ValueError, match='must'):
        dynamic_sharpen(torch.rand(3), t, a)


@pytest.mark.parametrize(
    ('m', 't', 'a'),
    [(0.0, 0.2, 6), (0.3, 0.2, 6), (0.4, 0.3, 6), (0.45, 0.35, 6), (0.5, 0.4, 4), (0.98, 0.5, 4)],
)
def test_sharpening_parameters_of_the_paper(m, t, a):
    assert sharpening_parameters(m) == (pytest.approx(t), a)


def test_sharpening_parameters_refuse_nan():
    with pytest.raises(ValueError, match='quantile of scores'):
        sharpening_parameters(math.nan)


def sample(film: str, valid: torch.Tensor) -> DetDataSample:
    data_sample = DetDataSample(metainfo=dict(img_path=film))
    data_sample.gt_prob_map = PixelData(valid=valid)
    return data_sample


def test_step_notes_scores_of_the_film_area_only_in_training():
    step = DynamicSharpening()
    step.expect_updates()
    maps = torch.zeros(2, 1, 2, 2)
    maps[0, 0, 0, 0], maps[0, 0, 1, 1], maps[1, 0, 0, 1] = 0.9, 0.4, 0.6
    valid = torch.ones(1, 2, 2, dtype=torch.bool)
    without_corner = valid.clone()
    without_corner[0, 0, 0] = False
    samples = [sample('a', without_corner), sample('b', valid)]
    step.train()(maps, torch.ones_like(maps), samples, samples)
    scores = step.pop_scores()
    assert scores == {'a': [pytest.approx(0.4)], 'b': [pytest.approx(0.6)]}
    step.eval()(maps, torch.ones_like(maps), samples, samples)
    assert step.pop_scores() == {}


def test_parameters_are_saved_and_loaded():
    step = DynamicSharpening()
    assert math.isnan(step.m) and (step.t, step.a) == (0.2, 6)
    step.set_m(0.47)
    other = DynamicSharpening()
    other.load_state_dict(step.state_dict())
    assert (other.m.item(), other.t.item(), other.a.item()) == (0.47, 0.47 - 0.1, 4)
    y = torch.rand(2, 1, 3, 3)
    found, _ = other.eval()(y, torch.ones_like(y), [], [])
    torch.testing.assert_close(found, dynamic_sharpen(y, 0.37, 4))


@pytest.mark.parametrize('quantile', [0, 1, -0.1])
def test_a_quantile_out_of_range_is_refused(quantile):
    with pytest.raises(ValueError, match='quantile must lie in'):
        DynamicSharpening(quantile=quantile)
