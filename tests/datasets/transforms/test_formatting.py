# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
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
