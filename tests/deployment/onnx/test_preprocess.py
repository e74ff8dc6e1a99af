# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.datasets.transforms import Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import TRANSFORMS

from mmfrac.deployment.onnx.preprocess import prepare

SIDES = st.integers(1, 70)


def in_mmdet(plane, channels, resize, pad, **preprocessor):
    """Inputs of the network and scale, as a test pipeline gives them."""
    img = plane if channels == 1 else np.repeat(plane[..., None], channels, axis=2)
    results = dict(img=img, img_shape=plane.shape, ori_shape=plane.shape)
    if resize:
        results = Resize(**resize)(results)
    if pad:
        results = TRANSFORMS.build(dict(type='PadRadiograph', **pad))(results)
    img = results['img'] if results['img'].ndim == 3 else results['img'][..., None]
    made = DetDataPreprocessor(**preprocessor)
    sample = torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))
    inputs = made(dict(inputs=[sample], data_samples=None))['inputs'][0]
    return inputs.numpy(), results.get('scale_factor', (1, 1))


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(SIDES, SIDES),
    scale=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    keep_ratio=st.booleans(),
    interpolation=st.sampled_from(['bilinear', 'area', 'nearest', 'bicubic', 'lanczos']),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(['size', 'square', 'divisor', 'both', 'none', 'bare']),
    divisor=st.sampled_from([1, 4, 32]),
    normalise=st.booleans(),
    value=st.sampled_from([0.0, 0.5]),
)
def test_equals_the_test_pipeline(
    shape, scale, keep_ratio, interpolation, channels, kind, divisor, normalise, value
):
    plane = np.random.default_rng(sum(shape)).random(shape, np.float32)
    size = (max(scale), max(scale))
    pads = dict(
        size=dict(size=size),
        square=dict(pad_to_square=True),
        divisor=dict(size_divisor=8),
        both=dict(pad_to_square=True, size_divisor=8),
    )
    pad = pads.get(kind)
    resize = None
    if kind != 'bare':
        resize = dict(scale=scale, keep_ratio=keep_ratio, interpolation=interpolation)
        # OpenCV refuses a side of no px in either
        assume(not keep_ratio or max(scale) * min(shape) >= 2 * max(shape))
    mean, std = ([0.449] * channels, [0.226] * channels) if normalise else (None, None)
    expected, factors = in_mmdet(
        plane,
        channels,
        resize,
        pad,
        mean=mean,
        std=std,
        pad_size_divisor=divisor,
        pad_value=value,
    )
    whole = dict(size=None, divisor=None, square=False)
    if pad:
        whole |= dict(
            size=pad.get('size'),
            divisor=pad.get('size_divisor'),
            square=pad.get('pad_to_square', False),
        )
    found = prepare(
        plane,
        dict(
            channels=channels,
            resize=resize,
            pad=whole if pad else None,
            mean=mean,
            std=std,
            divisor=divisor,
            value=value,
        ),
    )
    # OpenCV rounds otherwise where pixels have three channels
    np.testing.assert_allclose(found.inputs, expected, rtol=0, atol=0 if channels == 1 else 1e-5)
    assert found.factors == pytest.approx(factors, abs=0)


def test_an_image_larger_than_what_it_is_padded_to_is_an_error():
    settings_ = dict(
        channels=1,
        resize=None,
        pad=dict(size=[8, 8], divisor=None, square=False),
        mean=None,
        std=None,
        divisor=1,
        value=0.0,
    )
    with pytest.raises(ValueError, match='resized to 9 x 5 px, and padded to 8 x 8'):
        prepare(np.zeros((5, 9), np.float32), settings_)
