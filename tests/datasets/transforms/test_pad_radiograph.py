# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope


@pytest.mark.parametrize('shape', [(12, 16), (9, 16), (12, 7), (5, 5), (12, 16, 3), (9, 16, 3)])
@pytest.mark.parametrize('options', [dict(size=(16, 12)), dict(size_divisor=8)])
def test_equals_pad(shape, options):
    init_default_scope('mmdet')
    img = np.random.default_rng(0).random(shape, dtype=np.float32)
    results = [
        TRANSFORMS.build(dict(type=name, **options))(
            dict(img=img, img_shape=shape[:2], gt_seg_map=np.ones(shape[:2], np.uint8))
        )
        for name in ('Pad', 'PadRadiograph')
    ]
    for key in ('img', 'gt_seg_map'):
        np.testing.assert_array_equal(results[0].pop(key), results[1].pop(key))
    assert results[0] == results[1]


def test_a_film_of_full_size_is_not_copied():
    img = np.zeros((12, 16), np.float32)
    pad = TRANSFORMS.build(dict(type='PadRadiograph', size=(16, 12)))
    assert pad(dict(img=img))['img'] is img
