# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmfrac.engine.runner import amp
from tests.configs.test_configs import tiny_config


def test_semi_supervised_steps_in_bfloat16_on_the_cpu(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(amp, 'get_device', lambda: 'cpu')
    cfg = tiny_config('frac_ssl.py', tiny_data, tmp_path)
    cfg.train_cfg.val_interval = 10
    cfg.default_hooks.checkpoint = None
    amp.use_amp(cfg)
    runner = Runner.from_cfg(cfg)
    student = runner.model.student
    seen = []
    student.backbone.conv1.register_forward_hook(
        lambda module, args, out: seen.append((torch.is_grad_enabled(), out.dtype))
    )
    clear = torch.clear_autocast_cache

    def note_and_clear():
        seen.append('clear')
        clear()

    monkeypatch.setattr(torch, 'clear_autocast_cache', note_and_clear)
    before = student.backbone.conv1.weight.clone()
    runner.train()
    # student of the burn-in step, teacher (before the epoch and in its step), student
    assert (True, torch.bfloat16) in seen and (False, torch.bfloat16) in seen
    # weights that the teacher's pass made, without gradient, are gone before the student's
    student_pass = len(seen) - 1 - seen[::-1].index((True, torch.bfloat16))
    assert seen[student_pass - 2 : student_pass] == [(False, torch.bfloat16), 'clear']
    assert student.backbone.conv1.weight.dtype == torch.float32
    assert not torch.equal(before, student.backbone.conv1.weight)
    scalars = runner.message_hub.log_scalars
    for name in ('loss_sup', 'loss_semi'):
        value = torch.tensor(scalars[f'train/{name}'].current())
        assert torch.isfinite(value)
        # a loss in bfloat16 would have 8 significant bits
        assert value != value.to(torch.bfloat16)


def test_accelerators_keep_mmengines_own(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', loss_scale=1.0)))
    monkeypatch.setattr(amp, 'get_device', lambda: 'cuda')
    amp.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    monkeypatch.setattr(amp, 'get_device', lambda: 'cpu')
    amp.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='CPUAmpOptimWrapper')
