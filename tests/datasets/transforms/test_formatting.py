# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs

from mmfrac.datasets import PackProbMapInputs
from mmfrac.datasets.transforms.formatting import META_KEYS


def test_meta_information_is_that_of_the_parent():
    results = dict(
        img=np.random.default_rng(0).random((8, 12), dtype=np.float32),
        img_id=3,
        img_path='a.png',
        ori_shape=(16, 24),
        img_shape=(8, 12),
        scale_factor=(0.5, 0.5),
        homography_matrix=np.diag([0.5, 0.5, 1]),
        label=1,
        regions=True,
        source='hospital',
        patient_id='p',
        instances=[dict(bbox=[1, 2, 3, 4], bbox_label=0, ignore_flag=0)],
        unwanted=1,
    )
    ours = PackProbMapInputs()(dict(results))
    parents = PackDetInputs(meta_keys=META_KEYS)(dict(results))
    assert torch.equal(ours['inputs'], parents['inputs'])
    found, wanted = ours['data_samples'].metainfo, parents['data_samples'].metainfo
    np.testing.assert_array_equal(found.pop('homography_matrix'), wanted.pop('homography_matrix'))
    assert found == wanted and len(found) == 10
    few = PackProbMapInputs(meta_keys=('label',))
    assert few(dict(results))['data_samples'].metainfo == dict(label=1)
    assert "'label'" in repr(few)


def test_target_is_packed():
    target, valid = np.eye(3, dtype=np.uint8), np.ones((3, 3), bool)
    packed = PackProbMapInputs()(dict(gt_prob_map=target, valid_map=valid))
    field = packed['data_samples'].gt_prob_map
    assert torch.equal(field.prob_map, torch.eye(3, dtype=torch.uint8)[None])
    assert field.valid.dtype == torch.bool and field.valid.shape == (1, 3, 3)


@pytest.mark.parametrize(
    ('img', 'found'),
    [
        (np.full((8, 12, 3), 240, np.uint8), 'uint8'),
        (np.zeros((8, 12), np.uint8), 'uint8'),
        (np.linspace(0, 128, 96, dtype=np.float32).reshape(8, 12), 'values from 0 to 128'),
        (np.linspace(-2.1, 1, 96).reshape(8, 12), r'values from -2\.1 to 1'),
        (np.full((8, 12, 3), np.nan, np.float32), 'values from nan to nan'),
    ],
)
def test_images_that_are_no_films_are_refused(img, found):
    message = rf'^a\.png: PackProbMapInputs got an image of {found}, .*LoadRadiograph'
    target = dict(gt_prob_map=np.zeros((2, 3), np.uint8), valid_map=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=message):
        PackProbMapInputs()(dict(target, img=img, img_path='a.png'))
    # of a detector of boxes, which mmdet's own loader may serve
    PackProbMapInputs()(dict(img=img, img_path='a.png'))


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_noise_and_contrast_may_go_a_little_beyond(dtype):
    img = np.linspace(-0.4, 1.6, 288, dtype=dtype).reshape(8, 12, 3)[:, ::-1]
    target = dict(gt_prob_map=np.zeros((2, 3), np.uint8), valid_map=np.ones((2, 3), bool))
    packed = PackProbMapInputs()(dict(target, img=img))
    np.testing.assert_array_equal(packed['inputs'].numpy(), img.transpose(2, 0, 1))
