# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.semi_real.drawing import at_native_depth, native_bits, png_values


def plane_of(bits, seed, brightest=1.0):
    full = 2**bits - 1
    values = np.random.default_rng(seed).integers(0, int(brightest * full) + 1, (16, 20))
    values[0, 0] = int(brightest * full)
    values[0, 1] = 1
    return np.divide(values, full, dtype=np.float32, casting='unsafe')


@pytest.mark.parametrize('bits', [8, 10, 11, 12, 14, 16])
def test_depth_is_recognised(bits):
    assert native_bits(plane_of(bits, 0)) == bits


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([8, 10, 12, 13, 16]), st.integers(0, 10**6), st.floats(0.51, 1.0))
def test_png_is_read_back_bit_for_bit(tmp_path_factory, bits, seed, brightest):
    plane = plane_of(bits, seed, brightest)
    file = tmp_path_factory.mktemp('depth') / 'film.png'
    values = png_values(plane)
    assert values.dtype == np.uint16
    cv2.imwrite(str(file), values)
    np.testing.assert_array_equal(read_radiograph(file), plane)


@pytest.mark.parametrize('bits', [8, 12, 16])
def test_dark_film_keeps_its_brightness(tmp_path, bits):
    plane = plane_of(bits, 1, brightest=0.3)
    cv2.imwrite(str(tmp_path / 'film.png'), png_values(plane))
    read = read_radiograph(tmp_path / 'film.png')
    np.testing.assert_allclose(read, plane, atol=1 / 2046 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([8, 12, 16]), st.integers(0, 10**6))
def test_changed_film_takes_the_scale_of_the_original(bits, seed):
    original = plane_of(bits, seed)
    changed = original.copy()
    changed[3:6] = (changed[3:6] * 0.83 + 0.01).clip(0, 1)
    film = at_native_depth(changed, original)
    assert native_bits(film) <= bits
    np.testing.assert_array_equal(film[6:], original[6:])
    np.testing.assert_allclose(film, changed, atol=0.5 / (2**bits - 1) + 1e-6)
