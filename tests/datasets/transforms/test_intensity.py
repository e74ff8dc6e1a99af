# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets import IntensityJitter
from mmfrac.datasets.transforms.intensity import jitter_intensity


def test_by_hand():
    img = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)  # mean 0.5
    out = jitter_intensity(img, shift=0.1, factor=0.5)
    assert out is img
    np.testing.assert_allclose(out, [[0.45, 0.55], [0.65, 0.75]], atol=1e-6)
    out = jitter_intensity(np.array([[0.2, 0.4], [0.6, 0.8]], np.float32), 0, 1, exponent=2)
    np.testing.assert_allclose(out, [[0.04, 0.16], [0.36, 0.64]], atol=1e-6)


def test_padding_stays_zero_and_out_of_the_mean():
    film = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)
    padded = np.zeros((5, 4), np.float32)
    padded[:2, :2] = film
    out = jitter_intensity(padded, 0.1, 1.2)
    np.testing.assert_allclose(out[:2, :2], jitter_intensity(film, 0.1, 1.2), atol=1e-6)
    out[:2, :2] = 0
    assert (out == 0).all()
    assert (jitter_intensity(np.zeros((3, 3), np.float32), 0.5, 1.2) == 0).all()


@settings(max_examples=60, deadline=None)
@given(
    shift=st.floats(-1, 1),
    factor=st.floats(0, 2),
    exponent=st.floats(0.5, 2),
    shape=st.sampled_from([(7, 5), (7, 5, 3)]),
    seed=st.integers(0, 99),
)
def test_equals_the_formula(shift, factor, exponent, shape, seed):
    rng = np.random.default_rng(seed)
    img = rng.random(shape).astype(np.float32)
    img[rng.random(shape) < 0.3] = 0
    power = img.astype(np.float64) ** exponent
    mean = power[img > 0].mean() if (img > 0).any() else 0
    expected = np.where(img > 0, np.clip(factor * (power - mean) + mean + shift, 0, 1), 0)
    out = jitter_intensity(img.copy(), shift, factor, exponent)
    assert out.dtype == np.float32 and out.shape == shape
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_transform_draws_from_its_ranges():
    transform = IntensityJitter(brightness=0.1, contrast=0.2, gamma=0.3)
    np.random.seed(0)
    drawn = np.array([transform._draw() for _ in range(2000)])
    low, high = drawn.min(0), drawn.max(0)
    np.testing.assert_allclose(low, [-0.1, 0.8, np.exp(-0.3)], atol=0.005)
    np.testing.assert_allclose(high, [0.1, 1.2, np.exp(0.3)], atol=0.005)
    seldom = IntensityJitter(prob=0.25)
    changed = [seldom._draw() is not None for _ in range(4000)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.03)


def test_same_seed_same_film():
    img = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    outs = []
    for _ in range(2):
        np.random.seed(5)
        outs.append(IntensityJitter()(dict(img=img.copy()))['img'])
    np.testing.assert_array_equal(*outs)
    assert not np.array_equal(outs[0], img)
    np.testing.assert_array_equal(IntensityJitter(prob=0)(dict(img=img.copy()))['img'], img)


def test_read_only_film_is_copied():
    img = np.full((4, 4), 0.5, np.float32)
    img.flags.writeable = False
    np.random.seed(1)
    out = IntensityJitter()(dict(img=img))['img']
    assert (img == 0.5).all() and (out != 0.5).all()


@pytest.mark.parametrize(
    'options', [dict(brightness=-0.1), dict(contrast=1.5), dict(gamma=-1), dict(prob=2)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        IntensityJitter(**options)


def test_wrong_dtype():
    with pytest.raises(ValueError, match='uint8'):
        IntensityJitter()(dict(img=np.zeros((3, 3), np.uint8)))
