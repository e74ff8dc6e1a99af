# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""mmengine's EMAHook on a semi-supervised model."""

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.configs.test_configs import tiny_config

WEIGHT = 'student.prob_map_head.logit_conv.weight'
STATISTIC = 'student.backbone.bn1.running_mean'


@HOOKS.register_module(force=True)
class WeightRecorder(Hook):
    """Weights before and after each step, and those that are validated."""

    def __init__(self):
        self.begun, self.trained, self.validated = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.begun.append(weights(runner.model.state_dict()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(weights(runner.model.state_dict()))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.validated.append(weights(runner.model.state_dict()))


def weights(state_dict):
    return [state_dict[name].clone() for name in (WEIGHT, STATISTIC)]


def same(one, other):
    return all(torch.allclose(a, b, rtol=0, atol=1e-7) for a, b in zip(one, other))


def test_average_is_validated_and_kept_and_training_goes_on(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom_ema.py', tiny_data, tmp_path)
    cfg.default_hooks.ema.momentum = 0.25
    runner = Runner.from_cfg(cfg)
    recorder = WeightRecorder()
    runner.register_hook(recorder)
    runner.train()
    first, second = recorder.trained
    assert not same(first, second)
    # the first step sets the average, the second moves it
    average = [0.75 * a + 0.25 * b for a, b in zip(first, second)]
    assert recorder.validated and all(same(average, seen) for seen in recorder.validated)
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert same(weights(saved['state_dict']), average)
    trained = {key.removeprefix('module.'): v for key, v in saved['ema_state_dict'].items()}
    assert same(weights(trained), second)
    # m, t, a belong to training: they are not averaged, and known wherever training goes on from
    for name in 'mta':
        value = runner.model.pseudo_pipeline[0].get_buffer(name)
        for state in (trained, saved['state_dict']):
            assert torch.equal(state[f'pseudo_pipeline.0.{name}'], value) and not value.isnan()
    cfg = tiny_config('phantom/frac_ssl_phantom_ema.py', tiny_data, tmp_path / 'more')
    cfg.train_cfg.max_epochs = 3
    cfg.update(resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
    runner = Runner.from_cfg(cfg)
    recorder = WeightRecorder()
    runner.register_hook(recorder)
    runner.train()
    assert len(recorder.begun) == 1 and same(recorder.begun[0], second)
