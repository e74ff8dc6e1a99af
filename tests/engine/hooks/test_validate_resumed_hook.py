# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from mmengine.hooks import LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmfrac.engine import ValidateResumedHook
from mmfrac.engine.hooks.validate_resumed_hook import is_logged
from mmfrac.evaluation import FracMetric
from tests.configs.test_configs import tiny_config


class Killed(BaseException):
    pass


def run(tiny_data, work_dir, monkeypatch, values, resume_from=None):
    """Train two epochs whose validations give these AUROC; None kills the run."""
    left = list(values)

    def compute_metrics(self, results):
        value = left.pop(0)
        if value is None:
            raise Killed
        return dict(AUROC=value)

    monkeypatch.setattr(FracMetric, 'compute_metrics', compute_metrics)
    cfg = tiny_config('phantom/frac_sup_phantom.py', tiny_data, work_dir)
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.model.semi_train_cfg.burn_in_epochs = 2
    if resume_from:
        cfg.resume, cfg.load_from = True, str(work_dir / resume_from)
    runner = Runner.from_cfg(cfg)
    with suppress(Killed):
        runner.train()
    assert not left
    best = sorted(path.name for path in work_dir.glob('best_*.pth'))
    return best, runner.message_hub.runtime_info.get('best_score')


@pytest.mark.slow
def test_a_run_killed_in_validation_keeps_the_same_best_model(tiny_data, tmp_path, monkeypatch):
    whole = run(tiny_data, tmp_path / 'whole', monkeypatch, [0.9, 0.7])
    assert whole == (['best_frac_AUROC_epoch_1.pth'], 0.9)
    killed = tmp_path / 'killed'
    assert run(tiny_data, killed, monkeypatch, [None])[0] == []
    assert run(tiny_data, killed, monkeypatch, [0.9, 0.7], 'epoch_1.pth') == whole


@pytest.mark.parametrize(
    ('changes', 'validates'),
    [
        (dict(), True),
        (dict(_resume=False), False),
        (dict(epoch=0), False),
        (dict(epoch=3), False),  # every second one is validated,
        (dict(epoch=7), True),  # and the last one
        (dict(epoch=2), False),  # from the fourth on
        (dict(val_loop=None), False),
        (dict(train_loop=IterBasedTrainLoop.__new__(IterBasedTrainLoop)), False),
    ],
)
def test_when_it_validates(changes, validates, tmp_path):
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.val_begin, loop.val_interval = 4, 2
    val_loop = Mock()
    runner = dict(_resume=True, epoch=4, max_epochs=7, train_loop=loop, val_loop=val_loop)
    runner |= dict(work_dir=str(tmp_path))
    ValidateResumedHook().before_train(SimpleNamespace(**{**runner, **changes}, logger=Mock()))
    assert val_loop.run.called == validates


def test_what_the_log_has_is_validated_without_a_line(tmp_path):
    lines = [
        '{"loss": 0.5, "data_time": 0.1, "iter": 4, "step": 4}',
        '{"sharpening/m": 0.5, "step": 5}',
        '{"frac/AUROC": 0.9, "data_time": 0.1, "step": 6}',
        '{"frac/AUROC": 0.9, "data_ti',
    ]
    folder = tmp_path / '20261128_203339/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(lines))
    assert [epoch for epoch in range(1, 8) if is_logged(tmp_path, epoch)] == [6]
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.val_begin, loop.val_interval = 1, 1
    hooks, seen = [LoggerHook(), Mock()], []
    runner = SimpleNamespace(
        _resume=True,
        max_epochs=9,
        train_loop=loop,
        work_dir=str(tmp_path),
        logger=Mock(),
        _hooks=hooks,
    )
    runner.val_loop = SimpleNamespace(run=lambda: seen.append(list(runner._hooks)))
    for runner.epoch in (6, 7):
        ValidateResumedHook().before_train(runner)
    assert seen == [hooks[1:], hooks] and runner._hooks is hooks
