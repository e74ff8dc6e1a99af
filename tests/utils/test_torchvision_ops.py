# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An installed torchvision can be imported, its operators may load or not."""

import importlib.util

import pytest
import torch

from mmfrac.utils import torchvision_ops

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('torchvision') is None, reason='torchvision is not installed'
)


def test_torchvision_imports_after_mmfrac():
    import torchvision
    from mmengine.utils.dl_utils import collect_env

    assert collect_env()['TorchVision'] == torchvision.__version__
    assert hasattr(torch.ops.torchvision, 'nms')


def test_it_declares_only_what_does_not_load(monkeypatch):
    monkeypatch.setattr(torchvision_ops, '_declared', [])
    monkeypatch.setattr(torch.ops, 'load_library', lambda path: None)
    assert not torchvision_ops.declare_missing_operators()
    monkeypatch.undo()
    # a second call changes nothing, whichever way the first went
    assert torchvision_ops.declare_missing_operators() == bool(torchvision_ops._declared)


def test_without_torchvision(monkeypatch):
    monkeypatch.setattr(torchvision_ops, '_declared', [])
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert not torchvision_ops.declare_missing_operators()
