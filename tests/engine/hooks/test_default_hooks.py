# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What must run for training to be right does not depend on ``custom_hooks``."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmfrac.models.pseudo_labels.sharpening import DynamicSharpening
from mmfrac.models.teachers.base import eval_mode
from tests.configs.test_configs import CONFIGS, NAMES, QUICK, tiny_config
from tests.slow import slow_but

OURS = 'phantom/frac_ssl_phantom.py'


def run(cfg, tmp_path, name):
    cfg.work_dir = str(tmp_path / name)
    cfg.visualizer.name = f'{tmp_path.name}_{name}'
    cfg.train_cfg.val_interval = 10
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('name', slow_but(NAMES, QUICK))
def test_a_child_without_custom_hooks_is_its_parent(name, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {str(CONFIGS / name)!r}\ncustom_hooks = []\n')
    parent, child = (Config.fromfile(path).to_dict() for path in (CONFIGS / name, child))
    assert parent.pop('custom_hooks', []) == child.pop('custom_hooks') == []
    assert child == parent


def tiny(tiny_data, tmp_path, **changes):
    cfg = tiny_config(OURS, tiny_data, tmp_path)
    cfg.train_dataloader.batch_sampler.epoch_length = 2
    cfg.train_cfg.max_epochs = 3
    for key, value in changes.items():
        cfg[key] = value
    return cfg


def mean_teacher(cfg):
    cfg.model.teacher = dict(type='MeanTeacher')
    return cfg


@pytest.mark.slow
def test_hooks_of_older_configs_change_nothing(tiny_data, tmp_path):
    old = [
        dict(type='SemiEpochHook'),
        dict(type='TeacherHook'),
        dict(type='DynamicSharpeningHook'),
        dict(type='CollapseMonitorHook'),
    ]
    states = [
        run(
            mean_teacher(tiny(tiny_data, tmp_path, custom_hooks=hooks)), tmp_path, name
        ).model.state_dict()
        for name, hooks in (('new', []), ('old', old))
    ]
    assert states[0]['teacher.ema.n_averaged'] == 6
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize(
    ('hook', 'teacher', 'message'),
    [
        ('semi_epoch', 'PiTeacher', 'was not told the epoch.*SemiEpochHook'),
        pytest.param(
            *('teacher', 'MeanTeacher', 'nobody started MeanTeacher.*TeacherHook'),
            marks=pytest.mark.slow,
        ),
        ('teacher', 'PiTeacher', 'nobody started PiTeacher.*TeacherHook'),
        ('dynamic_sharpening', 'PiTeacher', 'nobody updates m.*DynamicSharpeningHook'),
    ],
)
def test_a_model_without_one_of_them_refuses(hook, teacher, message, tiny_data, tmp_path):
    cfg = tiny(tiny_data, tmp_path)
    cfg.model.teacher = dict(type=teacher)
    del cfg.default_hooks[hook]
    with pytest.raises(ValueError, match=message):
        run(cfg, tmp_path, 'run')


def test_a_model_without_class_weights_refuses(tiny_data, tmp_path):
    cfg = tiny(tiny_data, tmp_path)
    cfg.model.detector.prob_map_head.loss.alpha_l = 'auto'
    del cfg.default_hooks['class_weight']
    with pytest.raises(ValueError, match=r'nobody counted.*ClassWeightHook'):
        run(cfg, tmp_path, 'run')


@pytest.mark.parametrize('quantile', slow_but([0.5, 0.1], [0.1]))
def test_the_first_m_is_that_of_all_images(quantile, tiny_data, tmp_path):
    cfg = tiny(tiny_data, tmp_path)
    cfg.model.semi_train_cfg.burn_in_epochs = 0
    cfg.model.pseudo_pipeline[0].quantile = quantile
    cfg.train_cfg.max_epochs = 1
    cfg.optim_wrapper.optimizer.lr = 0.0
    found, expected = [], []
    runner = Runner.from_cfg(cfg)
    model = runner.model
    images = runner.build_dataloader(cfg.train_dataloader).dataset.datasets[-1]

    def score(data):
        batch = {key: {name: [v] for name, v in branches.items()} for key, branches in data.items()}
        batch = model.data_preprocessor(batch, training=True)
        inputs, samples = (batch[key]['unsup_teacher'] for key in ('inputs', 'data_samples'))
        with eval_mode(model), torch.no_grad():
            prob_map = model.student.logits(inputs).sigmoid()
        return prob_map[samples[0].gt_prob_map.valid[None]].max().item()

    class Spy(DynamicSharpening):
        def set_m(self, m):
            if not found:  # before the first step
                expected.extend(map(score, images))
            found.append(m)
            super().set_m(m)

    model.pseudo_pipeline[0].__class__ = Spy
    runner.train()
    # each image has a score of its own, so that one more or less moves the quantile
    assert len(set(expected)) == len(images) == 5
    assert found[0] == pytest.approx(np.quantile(expected, quantile), abs=1e-6)
