# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.configs.test_configs import tiny_config

MOMENTUM = 0.25
BUFFER = 'backbone.bn1.running_mean'


@HOOKS.register_module(force=True)
class BufferRecorder(Hook):
    priority = 'LOWEST'

    def __init__(self):
        self.students, self.teachers, self.training = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for name in ('student', 'teacher'):
            network = getattr(runner.model, name)
            getattr(self, f'{name}s').append(network.state_dict()[BUFFER].clone())
            self.training.append(network.training)


def test_teacher_of_soft_teacher_has_the_averaged_statistics(tiny_data, tmp_path):
    cfg = tiny_config('compare/phantom/soft_teacher.py', tiny_data, tmp_path)
    cfg.train_cfg.val_interval = 10
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.mean_teacher.momentum = MOMENTUM
    runner = Runner.from_cfg(cfg)
    recorder = BufferRecorder()
    runner.register_hook(recorder)
    runner.train()
    assert len(recorder.students) == 2
    expected = torch.zeros(16)
    for student, teacher in zip(recorder.students, recorder.teachers):
        expected = (1 - MOMENTUM) * expected + MOMENTUM * student
        assert student.abs().max() > 0.01
        # in training mode the teacher's own batches would have moved it
        assert torch.allclose(teacher, expected, atol=1e-6)
    assert recorder.training == [True, False] * 2
