# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from unittest import mock

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.radiographs import dicom
from mmfrac.datasets.radiographs.grey_scale import _TAIL, Ends, find_ends
from mmfrac.datasets.radiographs.read import read_radiograph
from tests.datasets.radiographs.test_dicom import make_dicom


def sorted_ends(values):
    """A slow twin."""
    values, skip = np.sort(values), int(_TAIL * values.size)
    return Ends(values[0], values[skip], values[-1 - skip], values[-1])


def film(rng, kind, count):
    """Values whose tails are dense, sparse, in one place, or of one value."""
    values = np.clip(rng.normal(2000, 500, count), 0, 4095)
    match kind:
        case 'levels':
            values = rng.integers(0, 3, count)
        case 'background':
            values[: count // 3] = values.min()
        case 'saturated':
            values[values > 2500] = 4095
        case 'sorted':
            values.sort()
        case 'outliers':
            values[:] = 7
            values[rng.integers(0, count, 1 + count // 400)] = rng.integers(0, 20, 1 + count // 400)
        case 'last':
            values[-31:] = 9999
    return values


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float64])
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.integers(1, 300), st.integers(4000, 50_000)),
    st.sampled_from(['smooth', 'levels', 'background', 'saturated', 'sorted', 'outliers', 'last']),
    st.integers(0, 9),
)
def test_equals_sorting(dtype, count, kind, seed):
    values = film(np.random.default_rng(seed), kind, count)
    if dtype == np.int16:
        values = values - 2000
    values = (values / 40 if dtype == np.uint8 else values).astype(dtype)
    assert find_ends(values) == sorted_ends(values)


@pytest.mark.parametrize('slope', [1, -1.5])
@pytest.mark.parametrize(
    'dtype, bits', [(np.uint8, 8), (np.uint16, 12), (np.int16, 12), (np.int16, 16)]
)
def test_a_film_is_stretched_as_with_all_its_values_counted(tmp_path, dtype, bits, slope):
    rng = np.random.default_rng(bits)
    stored = film(rng, 'saturated', 90 * 101).reshape(90, 101)
    stored = (stored / (16 if bits == 8 else 1) - 1500 * (dtype == np.int16)).astype(dtype)
    path = make_dicom(tmp_path / 'a', stored, bits, RescaleSlope=slope, RescaleIntercept=3)
    found = read_radiograph(path)
    with mock.patch.object(dicom, '_ends', return_value=None):
        expected = read_radiograph(path)
    assert np.ptp(found) == 1
    np.testing.assert_array_equal(found, expected)


def test_bits_above_those_stored_are_no_values(tmp_path):
    stored = film(np.random.default_rng(0), 'smooth', 90 * 101).astype(np.uint16).reshape(90, 101)
    plain = read_radiograph(make_dicom(tmp_path / 'a', stored))
    # an overlay in a row that is not looked at otherwise
    stored[3] |= 1 << 15
    path = make_dicom(tmp_path / 'b', stored)
    ds = pydicom.dcmread(path)
    ds.add_new(0x60000102, 'US', 15)
    ds.save_as(path)
    np.testing.assert_array_equal(read_radiograph(path), plain)
