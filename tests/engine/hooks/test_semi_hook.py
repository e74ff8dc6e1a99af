# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine import DynamicSharpeningHook, TeacherHook
from mmfrac.engine.hooks.semi_hook import is_latest
from tests.configs.test_configs import tiny_config


class Own(TeacherHook):
    pass


class Another(TeacherHook):
    pass


@pytest.mark.parametrize(
    'kinds',
    [
        [TeacherHook],
        [TeacherHook, TeacherHook],
        [TeacherHook, Own],
        [TeacherHook, Own, Another],
    ],
)
def test_the_last_hook_of_a_kind_drives(kinds):
    hooks = [kind() for kind in kinds]
    other = DynamicSharpeningHook()
    runner = SimpleNamespace(hooks=[*hooks, other, Hook()])
    assert [is_latest(hook, runner) for hook in hooks] == [False] * (len(kinds) - 1) + [True]
    assert is_latest(other, runner)


def test_a_subclass_drives_whatever_its_priority():
    first, second = Own(), TeacherHook()
    runner = SimpleNamespace(hooks=[first, second])
    assert is_latest(first, runner) and not is_latest(second, runner)


def test_a_subclass_in_custom_hooks_doubles_nothing(tiny_data, tmp_path):
    HOOKS.register_module(module=Own, name='OwnTeacherHook', force=True)
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.model.teacher = dict(type='MeanTeacher')
    cfg.custom_hooks = [dict(type='OwnTeacherHook')]
    cfg.train_cfg.val_interval = 10
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.model.teacher.ema.n_averaged == runner.iter == 2
