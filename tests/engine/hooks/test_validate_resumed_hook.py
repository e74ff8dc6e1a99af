# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmdet.engine.runner import TeacherStudentValLoop
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, ValLoop

from mmfrac.engine import ValidateResumedHook
from mmfrac.engine.hooks.validate_resumed_hook import (
    best_faults,
    check_best,
    is_inside_epoch,
    is_logged,
)
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


def test_a_run_resumed_inside_an_epoch_begins_it_anew(tiny_data, tmp_path):
    def train(resume_from=None):
        cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
        cfg.train_dataloader.batch_sampler.epoch_length = 2
        cfg.train_cfg.val_interval = 1
        cfg.default_hooks.checkpoint.update(by_epoch=False, max_keep_ckpts=-1)
        if resume_from:
            cfg.resume, cfg.load_from = True, str(tmp_path / resume_from)
        validated = []
        runner = Runner.from_cfg(cfg)
        runner.call_hook = lambda name, call=runner.call_hook, **values: (
            validated.append(runner.iter) if name == 'before_val' else None,
            call(name, **values),
        )
        runner.train()
        return runner.iter, validated

    assert train() == (4, [2, 4])
    inside = [
        is_inside_epoch(torch.load(tmp_path / f'{name}.pth', weights_only=True))
        for name in ('iter_1', 'iter_2', 'iter_3', 'burn_in')
    ]
    # the second is saved once more as the best, when the epoch is over
    assert inside == [True, False, True, False]
    burn_in = (tmp_path / 'burn_in.pth').read_bytes()
    # of the two semi-supervised steps one is made again
    assert train('iter_3.pth') == (5, [5])
    assert (tmp_path / 'burn_in.pth').read_bytes() == burn_in
    assert train('burn_in.pth') == (4, [2, 4])


def test_the_end_of_an_epoch_is_not_inside():
    hub = dict(runtime_info=dict(epoch=1, max_epochs=3, max_iters=15))
    assert not is_inside_epoch(dict(meta=dict(epoch=2, iter=10), message_hub=hub))
    assert is_inside_epoch(dict(meta=dict(epoch=1, iter=9), message_hub=hub))
    # another number of iterations before it was resumed
    assert not is_inside_epoch(dict(meta=dict(epoch=2, iter=17), message_hub=hub))
    assert not is_inside_epoch(dict(state_dict={}))


def test_what_no_metric_gives_is_refused():
    evaluator = Evaluator([FracMetric(prefix='val')])
    check_best(['val/AUROC', 'auto'], evaluator)
    with pytest.raises(ValueError, match=r"save_best='frac/AUROC': .* begin with val/: .*'frac'$"):
        check_best(['frac/AUROC'], evaluator)
    check_best(['frac/AUROC'], Evaluator([FracMetric(), FracMetric(prefix='val')]))
    # may give anything
    check_best(['frac/AUROC'], SimpleNamespace(metrics=[]))


@pytest.mark.parametrize(
    ('labels', 'regions', 'name', 'faults'),
    [
        ([0, 1], [1, 1], 'frac/AUROC', []),
        ([0, 1], [1, 1], 'frac/FROC', []),
        ([1, -1], [1, 0], 'frac/AUROC', [('label 0', "save_best='frac/FROC'")]),
        ([1, -1], [1, 0], 'frac/FROC', []),
        ([0, 0], [1, 1], 'frac/AUROC', [('label 1', 'val_dataloader')]),
        ([0, 0], [1, 1], 'frac/FROC', [('label 1 and boxes', 'val_dataloader')]),
        ([0, 1], [1, 0], 'frac/Recall@0.1', [('label 1 and boxes', "save_best='frac/AUROC'")]),
        ([0, 0], [1, 1], 'coco/bbox_mAP', []),
    ],
)
def test_a_best_checkpoint_that_there_will_never_be_is_said(labels, regions, name, faults):
    dataset = SimpleNamespace(
        labels=lambda: np.array(labels), regions=lambda: np.array(regions, bool)
    )
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=dataset), evaluator=Evaluator([FracMetric()])
    )
    found = best_faults([name], loop)
    assert len(found) == len(faults)
    for one, (lack, hint) in zip(found, faults):
        assert one.startswith(f'{name} will be NaN') and f'has {lack};' in one
        assert one.endswith(hint)
    loop.dataloader.dataset = [1, 2]
    assert best_faults([name], loop) == []


@pytest.mark.parametrize('kind', [ValLoop, TeacherStudentValLoop])
def test_a_loop_with_names_of_its_own_is_left_alone(kind):
    """mmdet's of teacher and student puts ``teacher/`` before what the metrics give."""
    loop = kind.__new__(kind)
    loop._evaluator = loop.evaluator = Evaluator([FracMetric()])
    loop.dataloader = SimpleNamespace(dataset=[1, 2])
    hook = CheckpointHook(interval=1, save_best='teacher/frac/AUROC', rule='greater')
    runner = SimpleNamespace(
        _train_loop=EpochBasedTrainLoop.__new__(EpochBasedTrainLoop), _val_loop=loop, hooks=[hook]
    )
    if kind is TeacherStudentValLoop:
        ValidateResumedHook().before_run(runner)
        return
    with pytest.raises(ValueError, match=r"save_best='teacher/frac/AUROC'"):
        ValidateResumedHook().before_run(runner)


@pytest.mark.parametrize(('prefix', 'save_best'), [('val', 'frac/AUROC'), (None, 'coco/bbox_mAP')])
def test_a_training_whose_best_nothing_gives_is_refused(prefix, save_best, tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_sup_phantom.py', tiny_data, tmp_path)
    cfg.val_evaluator.prefix = prefix
    cfg.default_hooks.checkpoint.save_best = save_best
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=f"save_best='{save_best}'"):
        runner.train()
    assert runner.iter == 0
