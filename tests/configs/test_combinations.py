# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every teacher trains with every sharpening."""

import itertools
import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmfrac.models import pseudo_labels, teachers
from tests.configs.test_configs import tiny_config
from tests.slow import slow_but

TEACHERS = sorted(set(teachers.__all__) - {'BaseTeacher', 'WrappingTeacher'})
SHARPENINGS = dict(
    none=[],
    dynamic=[dict(type='DynamicSharpening')],
    constant=[dict(type='ConstantSharpening', a=4, t=0.3)],
    temperature=[dict(type='TemperatureSharpening')],
    aals=[dict(type='AdaptiveAsymmetricSharpening')],
    known_positive=[dict(type='DynamicSharpening'), dict(type='KnownPositive')],
    posterior=[dict(type='NoisyOrPosterior')],
    threshold=[dict(type='AdaptiveThreshold')],
    soft=[dict(type='SoftMatchWeight'), dict(type='MixtureSharpening')],
    top_cells=[dict(type='TopCells')],
)


def test_no_step_is_left_out():
    named = {step['type'] for steps in SHARPENINGS.values() for step in steps} | {'WarpToStudent'}
    assert named == {name for name in pseudo_labels.__all__ if name[0].isupper()}


# each teacher and each step once
QUICK = set(zip(itertools.cycle(TEACHERS), SHARPENINGS)) | {
    (name, 'dynamic') for name in TEACHERS[1::2]
}


@pytest.mark.parametrize(
    'teacher, sharpening', slow_but(itertools.product(TEACHERS, SHARPENINGS), QUICK)
)
def test_trains(teacher, sharpening, tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.model.teacher = dict(type=teacher)
    if teacher == 'FrozenTeacher':
        init_default_scope('mmdet')
        checkpoint = tmp_path / 'teacher.pth'
        torch.save(MODELS.build(cfg.model.detector).state_dict(), checkpoint)
        cfg.model.teacher.checkpoints = str(checkpoint)
    cfg.model.pseudo_pipeline = [*SHARPENINGS[sharpening], dict(type='WarpToStudent')]
    cfg.train_cfg.val_interval = 10
    runner = Runner.from_cfg(cfg)
    steps = [type(step).__name__ for step in runner.model.pseudo_pipeline]
    assert steps == [step['type'] for step in cfg.model.pseudo_pipeline]
    runner.train()
    assert runner.iter == 2
    for key in ('loss_sup', 'loss_semi'):
        assert math.isfinite(runner.message_hub.log_scalars[f'train/{key}'].current())
