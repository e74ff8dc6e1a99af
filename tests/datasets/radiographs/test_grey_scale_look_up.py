# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.radiographs import grey_scale
from mmfrac.datasets.radiographs.grey_scale import look_up

LOOKS_UP_16_BIT = grey_scale._LOOKS_UP_16_BIT


@pytest.mark.parametrize('with_opencv', [True, False])
@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([np.uint8, np.uint16]), st.booleans())
def test_equals_indexing(with_opencv, height, width, dtype, shifted):
    rng = np.random.default_rng(height * 10 + width)
    size = np.iinfo(dtype).max + 1
    table = rng.normal(size=size).astype(np.float32)
    table[rng.integers(0, size, 50)] = np.nan, *([-0.0] * 49)
    patterns = rng.integers(0, size, (height + 1, width)).astype(dtype)
    # a part of a larger array need not begin at a whole word
    patterns = patterns[1:] if shifted else patterns[:height]
    with mock.patch.object(grey_scale, '_LOOKS_UP_16_BIT', with_opencv and LOOKS_UP_16_BIT):
        found = look_up(table, patterns)
    assert found.dtype == np.float32 and found.flags.c_contiguous and found.flags.writeable
    assert found.shape == patterns.shape
    assert found.tobytes() == table[patterns].tobytes()


def test_columns_of_a_larger_plane():
    patterns = np.arange(48, dtype=np.uint16).reshape(6, 8)[:, 1:6]
    table = np.arange(2**16, dtype=np.float32)
    np.testing.assert_array_equal(look_up(table, patterns), patterns)
