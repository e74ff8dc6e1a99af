# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Folded batch norms change nothing, whatever order a module defines its parts in."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import spectral_norm

from mmfrac.engine.runner.batch_norms import fold_batch_norms
from tests.configs.test_configs import NAMES, tiny_config
from tests.slow import slow_but


def with_statistics(model):
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            if layer.affine:
                layer.weight.data.uniform_(0.5, 1.5, generator=generator)
                layer.bias.data.normal_(0, 0.1, generator=generator)
    return model.eval()


def norms(model):
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


@pytest.mark.parametrize(
    'name',
    slow_but(
        [name for name in NAMES if name.startswith('compare/') and 'phantom' not in name]
        + [
            'baselines/chexnet_cam.py',
            'phantom/frac_ssl_phantom.py',
            'semi_real/frac_ssl_semi_real_v2.py',
        ],
        ['compare/rtmdet.py', 'semi_real/frac_ssl_semi_real_v2.py'],
    ),
)
def test_every_kind_of_detector_predicts_the_same(name, tiny_data, tmp_path):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = tiny_config(name, tiny_data, tmp_path)
    model = with_statistics(MODELS.build(cfg.model))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[1]])

    def predict():
        with torch.no_grad():
            return [sample.clone() for sample in model.test_step(copy.deepcopy(batch))]

    def features():
        inputs = model.data_preprocessor(copy.deepcopy(batch))['inputs']
        with torch.no_grad():
            return model.extract_feat(inputs)

    # an untrained DINO takes other places for as good, at the least rounding
    picks_places = hasattr(model, 'num_queries')
    before, count = (features() if picks_places else predict()), len(norms(model))
    fold_batch_norms(model)
    assert len(norms(model)) < count
    if picks_places:
        for one, other in zip(before, features()):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * one.abs().max().item())
        return
    for one, other in zip(before, predict()):
        if 'pred_prob_map' in one:
            torch.testing.assert_close(
                one.pred_prob_map.data, other.pred_prob_map.data, rtol=1e-4, atol=1e-5
            )
        torch.testing.assert_close(
            one.pred_instances.scores, other.pred_instances.scores, rtol=1e-3, atol=1e-5
        )


class Net(nn.Module):
    """A detector of somebody else."""

    def __init__(self, backbone, neck=None):
        super().__init__()
        self.backbone = backbone
        self.neck = neck or nn.Identity()

    def forward(self, image):
        return self.neck(self.backbone(image))


class Backwards(nn.Module):
    """Defines a convolution before a norm and runs them the other way round."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        return self.conv(self.norm(image))


class Shortcut(Backwards):
    """Takes what the convolution gives for something else, too."""

    def forward(self, image):
        features = self.conv(image)
        return self.norm(features) + features


class Picky(Backwards):
    """Wants large images."""

    def forward(self, image):
        if image.shape[-1] < 128:
            raise ValueError('too small')
        return self.norm(self.conv(image))


class Standardised(nn.Conv2d):
    """A convolution whose weights are not what it convolves with."""

    def forward(self, image):
        weight = self.weight / self.weight.std()
        return nn.functional.conv2d(image, weight, self.bias, padding=self.padding)


def twice():
    """One convolution, two places, a norm for each."""
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(
        nn.Sequential(conv, nn.BatchNorm2d(3)), nn.Sequential(conv, nn.BatchNorm2d(3))
    )


def plain(**options):
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, **options), nn.BatchNorm2d(3))


def before_conv():
    return ConvModule(3, 3, 3, padding=1, norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act'))


@pytest.mark.parametrize(
    'net, left',
    [
        (Net(plain()), 0),
        (Net(plain(bias=False)), 0),
        (Net(nn.Identity(), plain()), 0),
        (Net(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))), 1),
        (Net(nn.Identity(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))), 1),
        (Net(Backwards()), 1),
        (Net(nn.Identity(), Backwards()), 1),
        (Net(Shortcut()), 1),
        (Net(nn.Identity(), Shortcut()), 1),
        (Net(Picky()), 1),
        (Net(nn.Sequential(Standardised(3, 3, 3, padding=1), nn.BatchNorm2d(3))), 1),
        (Net(nn.Identity(), nn.Sequential(Standardised(3, 3, 3, padding=1), nn.BatchNorm2d(3))), 1),
        (Net(twice()), 2),
        (Net(nn.Identity(), twice()), 2),
        (Net(nn.Identity(), before_conv()), 1),
        (Net(before_conv()), 1),
        (Net(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False))), 0),
        (
            Net(nn.Identity(), nn.Sequential(spectral_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3))),
            1,
        ),
        (
            Net(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))),
            1,
        ),
    ],
)
def test_networks_of_every_order(net, left):
    for layer in norms(net):
        if layer.track_running_stats:
            with_statistics(layer)
    net.eval()
    image = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        before = net(image)
        fold_batch_norms(net)
        assert len(norms(net)) == left
        torch.testing.assert_close(net(image), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'name',
    ['tf_efficientnet_lite0', 'resnet18', 'mobilenetv3_small_100', 'densenet121', 'regnetx_002'],
)
def test_backbones_of_timm_keep_their_activations(name):
    pytest.importorskip('timm', reason='needs the extra benchmarks')
    init_default_scope('mmdet')
    torch.manual_seed(0)
    net = Net(MODELS.build(dict(type='TimmBackbone', model_name=name)))
    with_statistics(net)
    image = torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        before = net(image)
        count = len(norms(net))
        fold_batch_norms(net)
        assert len(norms(net)) < count
        for one, other in zip(before, net(image)):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * one.abs().max().item())


def test_features_that_are_not_finite_keep_their_norms():
    class Backbone(nn.Sequential):
        pass

    backbone = Backbone(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    backbone[1].running_var.fill_(-1)
    model = nn.ModuleDict(dict(backbone=backbone)).eval()
    fold_batch_norms(model)
    assert len(norms(model)) == 1
