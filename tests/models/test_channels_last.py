# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy

import pytest
import torch
from torch import nn

from mmfrac.engine.runner.batch_norms import fold_batch_norms
from mmfrac.models import channels_last
from mmfrac.models.channels_last import use_channels_last


def strided(channels):
    return torch.nn.Sequential(torch.nn.Conv2d(channels, 16, 1, stride=2))


@pytest.mark.parametrize('channels, threads, changes', [(8, 2, False), (8, 1, True), (16, 2, True)])
def test_channels_last_where_it_does_not_crash(channels, threads, changes, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), strided(channels))
    use_channels_last(model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) == changes


def nets(monkeypatch, conv, is_slow=True):
    monkeypatch.setattr(channels_last, '_has_slow_gradients', lambda: is_slow)
    usual = nn.Sequential(conv, nn.ReLU())
    ours = copy.deepcopy(usual)
    use_channels_last(ours)
    return usual, ours


def gradients(net, image):
    image = image.clone().requires_grad_()
    out = net(image)
    (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
    return [out, image.grad, *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize(
    'options',
    [{}, dict(bias=False), dict(stride=2), dict(padding=2, dilation=2), dict(kernel_size=(1, 3))],
    ids=str,
)
def test_gradients_of_wide_convolutions_are_those_of_torch(monkeypatch, options):
    torch.manual_seed(0)
    options = dict(kernel_size=3, padding=1) | options
    usual, ours = nets(monkeypatch, nn.Conv2d(64, 80, **options))
    assert type(ours[0]) is channels_last.WideConv2d and type(usual[0]) is nn.Conv2d
    image = torch.randn(2, 64, 12, 10)
    calls = []
    apply = channels_last._Convolution.apply
    monkeypatch.setattr(
        channels_last._Convolution, 'apply', lambda *args: calls.append(1) or apply(*args)
    )
    wanted = gradients(usual, image)
    found = gradients(ours, image.to(memory_format=torch.channels_last))
    assert calls and len(wanted) == len(found)
    for one, other in zip(wanted, found):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)
    calls.clear()
    # what it is not for
    with torch.no_grad():
        ours(image.to(memory_format=torch.channels_last))
    with torch.autocast('cpu', torch.bfloat16):
        assert ours(image.to(memory_format=torch.channels_last)).dtype == torch.bfloat16
    ours.double()(image.double().to(memory_format=torch.channels_last))
    ours.float().requires_grad_(False)(image.to(memory_format=torch.channels_last))
    assert not calls


def test_gradients_by_differences():
    torch.manual_seed(0)
    inputs = [torch.randn(size, dtype=torch.double) for size in ((1, 2, 5, 4), (3, 2, 3, 3), (3,))]
    inputs = [value.to(torch.double).requires_grad_() for value in inputs]

    def call(*values):
        return channels_last._Convolution.apply(*values, (2, 1), (1, 0), (1, 1))

    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize(
    'conv, is_slow',
    [
        (nn.Conv2d(64, 64, 3), False),
        (nn.Conv2d(64, 64, 1), True),
        (nn.Conv2d(63, 64, 3), True),
        (nn.Conv2d(64, 64, 3, groups=64), True),
        (nn.Conv2d(64, 64, 3, padding='same'), True),
        (nn.Conv2d(64, 64, 3, padding_mode='reflect', padding=1), True),
    ],
)
def test_other_convolutions_stay_those_of_torch(monkeypatch, conv, is_slow):
    _, ours = nets(monkeypatch, conv, is_slow)
    assert type(ours[0]) is nn.Conv2d


def test_a_copy_with_the_same_state_is_wide_too(monkeypatch):
    usual, ours = nets(monkeypatch, nn.Conv2d(64, 64, 3))
    copied = copy.deepcopy(ours)
    assert type(copied[0]) is channels_last.WideConv2d
    assert list(copied.state_dict()) == list(usual.state_dict())
    copied.load_state_dict(usual.state_dict())
    traced = torch.jit.trace(copied, torch.randn(1, 64, 8, 8))
    assert 'PythonOp' not in str(traced.graph)
    exported = torch.export.export(copied, (torch.randn(1, 64, 8, 8),))
    assert 'conv2d' in str(exported.graph)


def test_batch_norms_behind_wide_convolutions_are_folded(monkeypatch):
    monkeypatch.setattr(channels_last, '_has_slow_gradients', lambda: True)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64)).eval()
    net[1].running_mean.normal_()
    use_channels_last(net)
    image = torch.randn(1, 64, 8, 8)
    wanted = net(image)
    fold_batch_norms(net)
    assert type(net[0]) is channels_last.WideConv2d and type(net[1]) is nn.Identity
    torch.testing.assert_close(net(image), wanted)


def test_a_cpu_with_avx_512_has_no_slow_gradients(monkeypatch):
    supported = dict(value=True)
    monkeypatch.setattr(
        torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: supported['value'], raising=False
    )
    monkeypatch.setattr(channels_last.platform, 'machine', lambda: 'x86_64')
    assert not channels_last._has_slow_gradients()
    supported['value'] = False
    assert channels_last._has_slow_gradients()
    monkeypatch.setattr(channels_last.platform, 'machine', lambda: 'aarch64')
    assert not channels_last._has_slow_gradients()
