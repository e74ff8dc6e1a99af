# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""No training step waits for the device, and a prediction does once: for all methods of configs/.

PyTorch's ``meta`` device stands in for a GPU: it has no values, so whatever asks for one fails there.
Not covered, as it is not ours: mmengine reads the losses for the log after each step, its scaler of
fp16 looks for inf in the gradients, and the box detectors of configs/compare/ look for indices.
"""

import copy
from contextlib import nullcontext

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmfrac.engine import TeacherHook
from mmfrac.utils.device import HostCopy, to_device
from tests.engine.method_steps import (
    CASES,
    config_of,
    end_step,
    first_batch,
    hooks_of_steps,
    is_done,
    prepared,
    train,
)
from tests.models.small_model import PREPROCESSOR, build, collate, detector_cfg, film
from tests.slow import slow_but


class Waits(AssertionError):
    """Here a host would wait for its device."""


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would be waited for; ``meta`` is the GPU.

    Args:
        copies_allowed (int): Copies to the host that are waited for.
    """

    def __init__(self, copies_allowed: int = 0) -> None:
        super().__init__()
        self.copies_allowed = copies_allowed
        self.copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            (values,) = args
            target = torch.device(kwargs.get('device') or values.device).type
            if target != values.device.type:
                if not kwargs.get('non_blocking'):
                    self.copies += 1
                    if target == 'meta' or self.copies > self.copies_allowed:
                        raise Waits(f'a copy to {target} that is waited for')
                if target == 'cpu':
                    # any probabilities
                    return torch.rand(values.shape).to(kwargs.get('dtype') or values.dtype)
        else:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
            # numbers may come from the host
            if len({tensor.device for tensor in tensors if tensor.dim()}) > 1:
                raise Waits(f'{func} of several devices')
        return func(*args, **kwargs)


@pytest.fixture
def gpu(monkeypatch):
    """Makes of ``meta`` what a GPU would be: autocast knows it, and numbers are copied to it."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch,
        'autocast',
        lambda kind, *args, **options: (
            nullcontext() if kind == 'meta' else autocast(kind, *args, **options)
        ),
    )
    # these copy from the host and wait, which meta leaves out
    for owner, name in ((torch, 'tensor'), (torch, 'as_tensor'), (torch.Tensor, 'new_tensor')):
        monkeypatch.setattr(owner, name, waiting(getattr(owner, name)))


def waiting(make):
    def checked(*args, **kwargs):
        made = make(*args, **kwargs)
        if made.device.type == 'meta' and made is not args[0]:
            raise Waits(f'{make.__name__} copies from the host')
        return made

    return checked


QUICK = [
    f'_base_/methods/{name}.py'
    for name in ('supervised', 'temporal_ensembling', 'mean_teacher', 'chexnet_cam', 'focal_mix')
]


@pytest.mark.parametrize('case', slow_but(CASES, ['frac_ssl.py', *QUICK]))
def test_step_and_prediction(case, tiny_data, tmp_path, gpu):
    cfg, epochs = config_of(case, tiny_data, tmp_path)
    if is_done(cfg.model, cfg.train_dataloader, cfg.default_hooks.get('ema'), epochs):
        return
    runner = prepared(cfg, tmp_path, 'meta')
    model = runner.model

    def step(batch):
        with NoWaiting():
            losses = model.train_step(batch, runner.optim_wrapper)
            end_step(runner, batch, losses)
        assert losses['loss'].is_meta
        return losses

    train(runner, epochs, step)
    assert all(one.grad is None or one.is_meta for one in model.parameters())
    if is_done('prediction', cfg.model.get('detector', cfg.model)):
        return
    model.eval()
    batch = first_batch(Runner.build_dataloader(cfg.test_dataloader), model)
    with torch.no_grad(), NoWaiting(copies_allowed=1) as mode:
        found = model.test_step(batch)
    assert mode.copies == 1 and len(found) == 3
    for sample in found:
        sample.pred_score.item()
        assert sample.pred_instances.bboxes.device.type == 'cpu'
        assert sample.pred_prob_map.data.device.type == 'cpu'


def test_a_step_with_frozen_teachers(tiny_data, tmp_path, gpu):
    init_default_scope('mmdet')
    cfg, _ = config_of('_base_/methods/posterior_snapshot.py', tiny_data, tmp_path)
    detector = copy.deepcopy(cfg.model.detector)
    detector.data_preprocessor = dict(type='DetDataPreprocessor', mean=[0.4], std=[0.2])
    weights = tmp_path / 'supervised.pth'
    torch.save(MODELS.build(detector).state_dict(), weights)
    cfg.model.teacher.teacher = dict(
        type='FrozenTeacher', checkpoints=[str(weights)] * 2, detector=detector
    )
    runner = prepared(cfg, tmp_path, 'meta')

    def step(batch):
        with NoWaiting():
            losses = runner.model.train_step(batch, runner.optim_wrapper)
            end_step(runner, batch, losses)
        return losses

    train(runner, [1], step)
    given = runner.model.teacher.teacher._detectors
    assert len(given) == 2 and all(one.is_meta for part in given for one in part.parameters())


def test_hooks_of_steps_are_found(tiny_data, tmp_path):
    init_default_scope('mmdet')
    cfg, _ = config_of('phantom/frac_ssl_phantom_ema.py', tiny_data, tmp_path)
    assert [type(hook) for hook in hooks_of_steps(cfg)] == [TeacherHook, EMAHook]


@pytest.mark.parametrize(
    'wait',
    [
        lambda values: values.sum().item(),
        lambda values: values.cpu(),
        lambda values: values.numpy(),
        lambda values: values.tolist(),
        lambda values: bool(values.any()),
        lambda values: float(values[0]),
        lambda values: values[values > 0],
        lambda values: values.nonzero(),
        lambda values: values + torch.ones(3),
        lambda values: values[torch.tensor([0, 1])],
        lambda values: torch.ones(3).to(values),
        lambda values: torch.tensor([1.0], device=values.device),
        lambda values: values.new_tensor(1.0),
        lambda values: HostCopy(values).numpy() + values.cpu().numpy(),
    ],
)
def test_what_waits_is_found(wait, gpu):
    with pytest.raises((Waits, RuntimeError, TypeError)), NoWaiting():
        wait(torch.empty(3, device='meta'))


def test_what_does_not_wait_is_let_through(gpu):
    values = torch.empty(3, device='meta')
    with NoWaiting():
        given = to_device(torch.ones(3), values.device)
        assert (values + given).is_meta
        assert HostCopy(values).numpy().shape == (3,)
        assert torch.tensor([1.0, 2.0]).sum().item() == 3


def test_each_detector_of_an_ensemble_copies_its_results_once(gpu):
    detector = {**detector_cfg(), 'data_preprocessor': None}
    ensemble = dict(type='EnsembleDetector', detectors=[detector] * 2)
    model = build(ensemble | dict(data_preprocessor=PREPROCESSOR)).eval().to('meta')
    batch = model.data_preprocessor.cast_data(collate([film(name) for name in 'abc']))
    with torch.no_grad(), NoWaiting(copies_allowed=2) as mode:
        assert len(model.test_step(batch)) == 3
    assert mode.copies == 2
