# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmengine.structures import PixelData

from mmfrac.models.postprocess import image_scores
from mmfrac.models.target_maps import stack_targets, stack_valid
from mmfrac.utils.config import set_img_scale
from tests.configs.test_configs import tiny_config, wanted_losses
from tests.models.small_model import build, collate, detector_cfg, film, semi_batch, semi_cfg

# 12 x 12 cells, the last 3 rows padding of the pipeline; the preprocessor pads to 64 x 64 px
FILMS = dict(size=48)


def test_maps_of_unpadded_inputs_are_left_alone():
    samples = [film(name, boxes=[(8, 12, 20, 28)])['data_samples'] for name in 'ab']
    for sample in samples:
        sample.set_metainfo(dict(batch_input_shape=(64, 64)))
    assert torch.equal(stack_targets(samples)[0], samples[0].gt_prob_map.prob_map)
    assert torch.equal(stack_valid(samples)[1], samples[1].gt_prob_map.valid)


def test_maps_follow_the_padding_of_the_batch():
    large, small = (film(name, size=size) for name, size in (('a', 64), ('b', 48)))
    batch = build(detector_cfg()).data_preprocessor(collate([large, small]), True)
    assert batch['inputs'].shape[-2:] == (64, 64)
    valid = stack_valid(batch['data_samples'])
    assert valid.shape == (2, 1, 16, 16) and stack_targets(batch['data_samples']).shape[-1] == 16
    assert valid[0].sum() == 12 * 16 and valid[1].sum() == 9 * 12
    assert valid[1, 0, :9, :12].all()


@pytest.mark.parametrize('semi', [False, True])
def test_losses_are_those_of_targets_padded_by_hand(semi):
    boxed, public = film('a', boxes=[(8, 12, 20, 28)], **FILMS), film('b', regions=False, **FILMS)
    model = build(semi_cfg() if semi else detector_cfg())
    data = semi_batch([boxed], [public]) if semi else collate([boxed])
    batch = model.data_preprocessor(data, True)
    by_hand = copy.deepcopy(batch)
    samples = by_hand['data_samples']
    for sample in (one for branch in samples.values() for one in branch) if semi else samples:
        maps = sample.gt_prob_map
        sample.gt_prob_map = PixelData(
            prob_map=F.pad(maps.prob_map, (0, 4, 0, 4)), valid=F.pad(maps.valid, (0, 4, 0, 4))
        )
        sample.set_metainfo(dict(img_shape=(64, 64)))
    losses = [
        copy.deepcopy(model).loss(one['inputs'], one['data_samples']) for one in (batch, by_hand)
    ]
    assert losses[0]['loss_sup'] > 0
    assert losses[0] == losses[1]  # to the last bit


@pytest.mark.parametrize('semi', [False, True])
def test_samples_without_a_target_are_an_error_that_names_the_step(semi):
    model = build(semi_cfg() if semi else detector_cfg())
    films = [film('a', boxes=[(8, 12, 20, 28)])], [film('b', regions=False)]
    batch = model.data_preprocessor(semi_batch(*films) if semi else collate(films[0]), True)
    samples = batch['data_samples']
    for sample in (one for branch in samples.values() for one in branch) if semi else samples:
        del sample.gt_prob_map
        sample.set_metainfo(dict(img_path='a.png'))
    with pytest.raises(ValueError, match=r'^a\.png has no gt_prob_map .*PackProbMapInputs'):
        model.loss(batch['inputs'], samples)
    for stack in (stack_targets, stack_valid):
        with pytest.raises(ValueError, match='an image has no gt_prob_map'):
            stack([DetDataSample()])


def test_scores_of_another_stride_are_an_error_that_names_both_sizes():
    samples = [film('a')['data_samples']]
    with pytest.raises(ValueError, match=r'maps of 8 x 8 cells, .* have 16 x 16: .* stride'):
        image_scores(torch.zeros(1, 1, 8, 8), samples)


@pytest.mark.parametrize(
    'name', ['frac_sup.py', 'phantom/frac_ssl_phantom.py', 'baselines/chexnet_cam.py']
)
def test_trains_at_a_size_that_is_no_multiple_of_32(name, tiny_data, tmp_path):
    cfg = tiny_config(name, tiny_data, tmp_path)
    set_img_scale(cfg, (72, 72))  # the input is 96 x 96
    cfg.train_cfg.val_interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    for key in wanted_losses(cfg.model):
        assert math.isfinite(scalars[f'train/{key}'].current())
    assert math.isfinite(scalars['val/frac/AUROC'].current())
