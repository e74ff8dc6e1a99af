# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from types import SimpleNamespace

import pytest
import torch
from mmdet.engine.hooks import MeanTeacherHook
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import CosineAnnealingLR, MultiStepLR
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmfrac.engine import RampedMeanTeacherHook, SemiEpochHook, TeacherHook
from mmfrac.engine.hooks.semi_epoch_hook import (
    check_loop,
    check_mean_teacher_hooks,
    epoch_plan,
    scheduler_changes,
)
from mmfrac.models.detectors.burn_in import burn_in_length
from mmfrac.utils.config import load_config, merge_config_file, merge_options
from tests.configs.test_configs import CONFIGS, tiny_config
from tests.models.small_model import build, detector_cfg, semi_cfg


def boxes_cfg(semi_train_cfg):
    cfg = Config.fromfile(CONFIGS / 'compare/phantom/consistent_teacher.py').model
    return {**cfg, 'semi_train_cfg': semi_train_cfg}


@pytest.mark.parametrize('make_cfg', [semi_cfg, boxes_cfg])
def test_burn_in_is_told_to_model_and_sampler_and_kept(make_cfg):
    saved = []
    batch_sampler = SimpleNamespace(supervised_only=None)
    runner = SimpleNamespace(
        model=build(make_cfg(semi_train_cfg=dict(burn_in_epochs=2))),
        train_dataloader=SimpleNamespace(batch_sampler=batch_sampler),
        save_checkpoint=lambda folder, name, **options: saved.append((runner.epoch, name)),
        work_dir='work',
        iter=0,
    )
    told = []
    for runner.epoch in range(4):
        SemiEpochHook().before_train_epoch(runner)
        told.append((batch_sampler.supervised_only, runner.model.is_semi_supervised))
    assert told == [(True, False), (True, False), (False, True), (False, True)]
    assert saved == [(2, 'burn_in.pth')]


@pytest.mark.parametrize(
    'burn_in, epochs, plan',
    [
        (0, 6, 'all 6 epochs are semi-supervised'),
        (
            *(8, 14),
            'of 14 epochs the first 8 are burn-in, supervised alone, the other 6 semi-supervised',
        ),
        (14, 14, 'all 14 epochs are burn-in, supervised alone'),
        (20, 14, 'all 14 epochs are burn-in, supervised alone'),
        (math.inf, 14, 'all 14 epochs are burn-in, supervised alone'),
    ],
)
def test_plan_of_a_training(burn_in, epochs, plan):
    assert epoch_plan(burn_in, epochs) == plan


class Log(list):
    def info(self, text):
        self.append(('info', text))

    def warning(self, text):
        self.append(('warning', text))


@pytest.mark.parametrize('make_cfg', [semi_cfg, boxes_cfg])
@pytest.mark.parametrize(
    'burn_in, has_unsup_sources, levels',
    [
        (0, True, ['info']),
        (2, True, ['info']),
        (3, True, ['info', 'warning']),
        (3, False, ['info']),
        ('all', True, ['info']),
    ],
)
def test_a_training_without_semi_supervised_epoch_is_said(
    make_cfg, burn_in, has_unsup_sources, levels
):
    log = Log()
    runner = SimpleNamespace(
        model=build(make_cfg(semi_train_cfg=dict(burn_in_epochs=burn_in))),
        train_dataloader=SimpleNamespace(
            batch_sampler=SimpleNamespace(has_unsup_sources=has_unsup_sources)
        ),
        max_epochs=3,
        cfg={},
        logger=log,
        hooks=[RampedMeanTeacherHook()] * (make_cfg is boxes_cfg),
    )
    SemiEpochHook().before_train(runner)
    assert [level for level, _ in log] == levels
    if 'warning' in levels:
        assert 'no epoch of this training is semi-supervised: it has 3' in log[1][1]


@pytest.mark.parametrize('make_cfg', [semi_cfg, boxes_cfg])
@pytest.mark.parametrize('burn_in', ['al', -1, 1.5, True, None])
def test_another_burn_in_is_refused(make_cfg, burn_in):
    with pytest.raises(
        ValueError, match=r"burn_in_epochs must be a number of epochs >= 0 or 'all'"
    ):
        build(make_cfg(semi_train_cfg=dict(burn_in_epochs=burn_in)))


SUPERVISED = [
    'ablations/upper_bound.py',
    'baselines/window_loss.py',
    'phantom/frac_sup_phantom.py',
    'phantom/frac_sup_phantom_v2.py',
    'semi_real/frac_sup_semi_real.py',
]


@pytest.mark.parametrize('name', [*SUPERVISED, 'phantom/frac_ssl_phantom.py'])
def test_a_supervised_training_stays_one_when_it_is_lengthened(name):
    cfg = load_config(CONFIGS / name)
    if name.startswith('phantom/frac_ssl'):
        merge_config_file(cfg, CONFIGS / '_base_/methods/supervised.py')
    merge_options(cfg, {'train_cfg.max_epochs': 50})
    semi = burn_in_length(cfg.model.semi_train_cfg.burn_in_epochs) < cfg.train_cfg.max_epochs
    assert not semi


def test_a_burn_in_to_the_end_has_no_semi_supervised_epoch(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_sup_phantom.py', tiny_data, tmp_path)
    cfg.model.semi_train_cfg.burn_in_epochs = 'all'
    cfg.train_cfg.val_interval = 10
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert runner.iter == 2 and 'train/loss_semi' not in scalars
    assert len(scalars['train/loss_sup'].data[0]) == 2
    assert not (tmp_path / 'burn_in.pth').exists()


def by_iterations(cfg):
    """Two iterations in place of epochs."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=10)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = None
    return cfg


@pytest.mark.parametrize(
    'name, burn_in',
    [
        ('phantom/frac_ssl_phantom.py', 0),
        ('phantom/frac_ssl_phantom.py', 1),
        ('phantom/frac_ssl_phantom.py', 'all'),
        ('compare/phantom/consistent_teacher.py', 1),
    ],
)
def test_a_training_without_epochs_is_refused(name, burn_in, tiny_data, tmp_path):
    cfg = by_iterations(tiny_config(name, tiny_data, tmp_path))
    cfg.model.semi_train_cfg.burn_in_epochs = burn_in
    with pytest.raises(ValueError, match=r'IterBasedTrainLoop has none: .*epoch_length'):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('name', ['compare/phantom/consistent_teacher.py', 'frac_sup.py'])
def test_what_counts_no_epochs_trains_without(name):
    cfg = load_config(CONFIGS / name).model
    if 'semi_train_cfg' in cfg:
        cfg.semi_train_cfg.burn_in_epochs = 0
    else:
        cfg.backbone.init_cfg = None
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop.dataloader = [0]
    SemiEpochHook().before_run(SimpleNamespace(model=build(cfg), _train_loop=loop))


class TestHooksThatMoveATeacher:
    """One for mmdet's detectors, none for ours."""

    once = [TeacherHook(), RampedMeanTeacherHook()]

    def check(self, make_cfg, hooks):
        check_mean_teacher_hooks(build(make_cfg(semi_train_cfg=dict(burn_in_epochs=0))), hooks)

    def test_what_fits(self):
        self.check(boxes_cfg, self.once)
        self.check(semi_cfg, [TeacherHook()])
        check_mean_teacher_hooks(build(detector_cfg()), self.once)

    def test_a_teacher_that_nothing_moves(self):
        with pytest.raises(ValueError, match=r'ConsistentTeacher: no hook moves its teacher.*add'):
            self.check(boxes_cfg, [TeacherHook()])

    def test_a_teacher_that_is_moved_twice(self):
        with pytest.raises(ValueError, match='RampedMeanTeacherHook and MeanTeacherHook'):
            self.check(boxes_cfg, [*self.once, MeanTeacherHook()])

    def test_a_teacher_of_ours(self):
        with pytest.raises(ValueError, match=r'RampedMeanTeacherHook .* weights of PiTeacher'):
            self.check(semi_cfg, self.once)


@pytest.mark.parametrize(
    'name, custom_hooks, message',
    [
        ('compare/phantom/soft_teacher.py', [], 'no hook moves its teacher'),
        ('phantom/frac_ssl_phantom.py', [dict(type='MeanTeacherHook')], 'weights of PiTeacher'),
    ],
)
def test_a_training_whose_teacher_is_not_moved_once_is_refused(
    name, custom_hooks, message, tiny_data, tmp_path
):
    cfg = tiny_config(name, tiny_data, tmp_path)
    cfg.default_hooks.pop('mean_teacher', None)
    cfg.custom_hooks = custom_hooks
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def loop_of(kind, loader):
    loop = kind.__new__(kind)
    loop.dataloader, loop._max_iters = loader, 14
    return loop


@pytest.mark.parametrize('kind', [EpochBasedTrainLoop, IterBasedTrainLoop])
def test_a_training_without_a_batch_is_refused(kind):
    check_loop(loop_of(kind, DataLoader(range(20), batch_size=64)), [])
    loader = DataLoader(range(20), batch_size=64, drop_last=True)
    with pytest.raises(ValueError, match=r'its 20 images .*batch_size=64.*drop_last=False'):
        check_loop(loop_of(kind, loader), [])


def test_batches_of_an_endless_sampler_are_filled():
    sampler = InfiniteSampler(range(20))
    loader = DataLoader(range(20), batch_size=64, sampler=sampler, drop_last=True)
    assert len(loader) == 0
    check_loop(loop_of(IterBasedTrainLoop, loader), [])


def test_a_training_by_iterations_that_saves_by_epochs_is_refused():
    loader = DataLoader(range(20))
    check_loop(loop_of(EpochBasedTrainLoop, loader), [CheckpointHook(interval=1)])
    loop = loop_of(IterBasedTrainLoop, loader)
    check_loop(loop, [CheckpointHook(interval=4, by_epoch=False), CheckpointHook()])
    with pytest.raises(ValueError, match=r'before iteration 14; .*checkpoint\.by_epoch=False'):
        check_loop(loop, [CheckpointHook(interval=1)])
    # the best, and the last, may be enough
    check_loop(loop, [CheckpointHook(interval=1, save_best='frac/AUROC', rule='greater')])


def schedulers(end, milestones):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    return [
        CosineAnnealingLR(optimizer, end=end, T_max=2),
        MultiStepLR(optimizer, milestones=milestones, by_epoch=False),
    ]


def test_a_resumed_schedule_that_is_not_the_config_s_is_said():
    kept = schedulers(2, [3])
    kept[0].optimizer.step()
    kept[0].step()
    kept = [one.state_dict() for one in kept]
    assert scheduler_changes(schedulers(2, [3]), kept) == []
    first, second = scheduler_changes(schedulers(4, [5]), kept)
    said = 'end is 4 in the config and 2 in the checkpoint, which counts'
    assert f'param_scheduler.0 (CosineAnnealingLR, in epochs): {said}' in first
    assert 'param_scheduler.1 (MultiStepLR, in iterations): milestones is' in second
    assert scheduler_changes(dict(a=schedulers(4, [3])), dict(a=kept)) == [first]
    assert (
        '2 schedulers in the config, 1 in the checkpoint'
        in scheduler_changes(schedulers(2, [3]), kept[:1])[0]
    )
    assert scheduler_changes(None, kept) == scheduler_changes(schedulers(2, [3]), None) == []
