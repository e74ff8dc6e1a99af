# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.preparation.phantom.tubes import _resample


def resample(values, stations):
    """The slow twin of ``_resample``: every tube and number by numpy's interpolation, in float64."""
    tubes, knots, numbers = values.shape
    at = (np.arange(stations) + 0.5) / stations * (knots - 1)
    rows = [
        [np.interp(at, np.arange(knots), values[k, :, i]) for i in range(numbers)]
        for k in range(tubes)
    ]
    return np.array(rows).transpose(0, 2, 1)


@pytest.mark.parametrize('tubes, knots, stations', [(1, 2, 1), (3, 2, 7), (4, 9, 5), (2, 30, 200)])
def test_resampled_tubes_equal_the_slow_twin(tubes, knots, stations):
    values = np.random.default_rng(knots).normal(size=(tubes, knots, 4)).astype(np.float32)
    dense = _resample(values, stations)
    assert dense.dtype == np.float32 and dense.shape == (tubes, stations, 4)
    np.testing.assert_allclose(dense, resample(values.astype(float), stations), atol=1e-6)
