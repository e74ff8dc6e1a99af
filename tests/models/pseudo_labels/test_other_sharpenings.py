# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

from mmfrac.models.pseudo_labels import dynamic_sharpen, temperature_sharpen


def sharpened(config, values, samples=()):
    pseudo_map = torch.tensor(values).view(1, 1, 1, -1)
    weight = torch.rand_like(pseudo_map)
    sharp, same = MODELS.build(config)(pseudo_map, weight, samples, ())
    assert same is weight
    return sharp.flatten()


@pytest.mark.parametrize('a', [4, 6])
@pytest.mark.parametrize('t', [0.2, 0.3, 0.4])
def test_constant_sharpening_is_ds_with_fixed_parameters(a, t):
    values = [0.0, 0.1, 0.35, 0.9, 1.0]
    found = sharpened(dict(type='ConstantSharpening', a=a, t=t), values)
    torch.testing.assert_close(found, dynamic_sharpen(torch.tensor(values), t, a))
    # 0.1^a / t^(a - 1)
    assert found[1].item() == pytest.approx(0.1**a / t ** (a - 1), rel=1e-5)


def test_temperature_by_hand():
    found = sharpened(dict(type='TemperatureSharpening', temperature=0.5), [0, 0.2, 0.5, 0.8, 1])
    # 0.04 / (0.04 + 0.64) and 0.64 / 0.68
    torch.testing.assert_close(found, torch.tensor([0, 1 / 17, 0.5, 16 / 17, 1]))


@given(st.floats(0, 1), st.floats(0.1, 3))
def test_temperature_equals_the_powers(y, temperature):
    above, below = y ** (1 / temperature), (1 - y) ** (1 / temperature)
    found = temperature_sharpen(torch.tensor(y), temperature).item()
    assert found == pytest.approx(above / (above + below), abs=1e-5)


def test_asymmetric_by_hand():
    # maximum 0.75, a = 4 - 3 * 0.75 = 1.75; odds of S: odds^1.75 * (2 / 3)^-0.75
    found = sharpened(dict(type='AdaptiveAsymmetricSharpening'), [0.0, 0.3, 0.4, 0.6, 0.75])

    def expected(y):
        odds = (y / (1 - y)) ** 1.75 * (0.4 / 0.6) ** -0.75
        return odds / (1 + odds)

    assert expected(0.3) < 0.3 and expected(0.6) > 0.6
    values = [0.0, 0.3, 0.4, expected(0.6), expected(0.75)]
    torch.testing.assert_close(found, torch.tensor(values))


def test_asymmetric_strength_is_that_of_each_film_without_its_padding():
    step = MODELS.build(dict(type='AdaptiveAsymmetricSharpening', a0=4.0, t=0.4))
    maps = torch.tensor([[0.6, 1.0], [0.6, 0.6]]).view(2, 1, 1, 2)
    samples = []
    for valid in ([True, False], [True, True]):
        sample = DetDataSample(metainfo=dict(img_path='film'))
        sample.gt_prob_map = PixelData(valid=torch.tensor(valid).view(1, 1, 2))
        samples.append(sample)
    found, _ = step(maps, maps, samples, samples)
    # the 1.0 lies in the padding of the first film: both have the same maximum
    assert found[0, 0, 0, 0] == found[1, 0, 0, 0] > 0.6
    # a sure map is left as it is
    assert step(maps[:1], maps[:1], [], [])[0][0, 0, 0, 0].item() == pytest.approx(0.6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
@pytest.mark.parametrize(
    'config',
    [
        dict(type='ConstantSharpening', a=6, t=0.2),
        dict(type='TemperatureSharpening'),
        dict(type='AdaptiveAsymmetricSharpening'),
    ],
)
def test_stays_a_probability(config, dtype):
    values = torch.linspace(0, 1, 257, dtype=dtype).view(1, 1, 1, -1)
    found, _ = MODELS.build(config)(values, torch.ones_like(values), [], [])
    assert found.dtype == dtype and found.isfinite().all()
    assert found.min() == 0 and found.max() == 1
    assert (found.diff() >= 0).all()


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(type='ConstantSharpening', a=0.5, t=0.3), 'a must be at least 1'),
        (dict(type='ConstantSharpening', a=4, t=1.0), r't must lie in \(0, 1\)'),
        (dict(type='TemperatureSharpening', temperature=0), 'temperature must be positive'),
        (dict(type='AdaptiveAsymmetricSharpening', a0=0), 'a0 must be at least 1'),
        (dict(type='AdaptiveAsymmetricSharpening', t=0.0), r't must lie in \(0, 1\)'),
    ],
)
def test_bad_options(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)
