# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

STILL = dict(brightness=0.0, contrast=0.0, gamma=0.0, strong_prob=1.0)


def strong(**options):
    return TRANSFORMS.build(dict(type='StrongIntensity', **{**STILL, **options}))


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.random((96, 80), dtype=np.float32), (0, 0), 3)
    smooth = 0.2 + 0.5 * (smooth - smooth.min()) / np.ptp(smooth)
    smooth[:, 70:] = 0  # padding
    return smooth


def changed(image, **options):
    return strong(**options)(dict(img=image.copy()))['img']


def test_each_change_alone(image):
    np.random.seed(0)
    off = dict(noise=0.0, blur=0.0, clahe=1.0)
    assert np.array_equal(changed(image, **off), image)
    inside = (slice(None), slice(0, 60))
    noise = changed(image, **off | dict(noise=0.1)) - image
    assert 0.001 < noise[inside].std() < 0.1 and abs(noise[inside].mean()) < 0.005
    blurred = changed(image, **off | dict(blur=3.0))
    assert np.abs(np.diff(blurred[inside])).mean() < np.abs(np.diff(image[inside])).mean()
    local = changed(image, **off | dict(clahe=4.0))
    assert local[inside].std() > image[inside].std()
    for one in (blurred, local):
        assert one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1
        assert not one[:, 70:].any()


def test_planes_stay_equal(image):
    np.random.seed(0)
    found = changed(np.repeat(image[..., None], 3, axis=2))
    assert found.shape == (96, 80, 3)
    assert np.array_equal(found[..., 0], found[..., 1])
    assert np.array_equal(found[..., 0], found[..., 2])


def test_probability(image):
    np.random.seed(0)
    same = [np.array_equal(changed(image, strong_prob=0.0), image) for _ in range(5)]
    assert all(same)


@pytest.mark.parametrize(
    'options', [dict(noise=-1), dict(blur=-1), dict(clahe=0.5), dict(strong_prob=2)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match='StrongIntensity'):
        strong(**options)
