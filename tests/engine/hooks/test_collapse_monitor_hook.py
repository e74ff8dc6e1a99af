# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer
from torch import nn

from mmfrac.engine.hooks.collapse_monitor_hook import CollapseMonitorHook, problems
from mmfrac.models.pseudo_labels.sharpening import DynamicSharpening


class Run:
    """What the hook sees of a Runner."""

    def __init__(self, *steps, **semi_train_cfg):
        self.model = nn.ModuleList(steps)
        self.model.semi_train_cfg = semi_train_cfg
        self.message_hub = SimpleNamespace(log_scalars={})
        self.epoch, self.warnings, self.scalars = 0, [], []
        self.logger = SimpleNamespace(warning=self.warnings.append)
        self.visualizer = SimpleNamespace(
            add_scalars=lambda scalars, step: self.scalars.append((step, scalars))
        )

    def run_epoch(self, hook, **histories):
        hook.before_train_epoch(self)
        for name, history in histories.items():
            buffer = self.message_hub.log_scalars.setdefault(f'train/{name}', HistoryBuffer())
            for value in history:
                buffer.update(value)
        hook.after_train_epoch(self)
        self.epoch += 1


def test_one_warning_an_episode_from_the_means_of_the_epoch():
    run, hook = Run(), CollapseMonitorHook(min_pseudo_positive=0.01)
    run.run_epoch(hook, pseudo_positive=[0.0, 0.04])
    assert run.warnings == []  # mean 0.02
    run.run_epoch(hook, pseudo_positive=[0.0, 0.01])
    run.run_epoch(hook, pseudo_positive=[0.0])
    assert len(run.warnings) == 1 and 'Epoch 2: pseudo_positive = 0.005' in run.warnings[0]
    run.run_epoch(hook, pseudo_positive=[0.5])
    run.run_epoch(hook, pseudo_positive=[0.0])
    assert len(run.warnings) == 2
    assert [step for step, _ in run.scalars] == [1, 2, 3, 4, 5]
    assert run.scalars[0][1] == {'monitor/pseudo_positive': pytest.approx(0.02)}


def test_burn_in_is_silent():
    run = Run(DynamicSharpening())
    run.run_epoch(CollapseMonitorHook(), loss_sup=[1.0])
    assert run.warnings == [] and run.scalars == []


def test_saturation():
    step = DynamicSharpening()
    run, hook = Run(step), CollapseMonitorHook()
    run.run_epoch(hook, pseudo_positive=[0.1])
    assert run.warnings == []  # m is not known
    step.set_m(0.95)
    run.run_epoch(hook, pseudo_positive=[0.1])
    assert len(run.warnings) == 1 and 'm = 0.950' in run.warnings[0]
    assert run.scalars[1][1]['monitor/m'] == 0.95


def test_ratio_is_that_of_the_mean_losses():
    run, hook = Run(), CollapseMonitorHook(ratio_bounds=(0.1, 2))
    run.run_epoch(hook, loss_sup=[1, 3], loss_semi=[6, 0])
    assert run.scalars[0][1] == {'monitor/semi_ratio': 1.5} and run.warnings == []
    run.run_epoch(hook, loss_sup=[1, 1], loss_semi=[3, 3])
    assert 'L_semi / L_sup = 3' in run.warnings[0]


def test_a_small_ratio_is_fine_while_the_weight_ramps_up():
    run, hook = Run(burn_in_epochs=1, ramp_up_epochs=1), CollapseMonitorHook()
    for _ in range(2):
        run.run_epoch(hook, loss_sup=[1.0], loss_semi=[0.0])
    assert run.warnings == []
    run.run_epoch(hook, loss_sup=[1.0], loss_semi=[0.0])
    assert len(run.warnings) == 1


def test_problems_at_the_bounds():
    assert problems(dict(pseudo_positive=0.1, m=0.9, semi_ratio=2.0), 0.1, 0.9, (1, 2)) == {}
    found = problems(dict(pseudo_positive=0.09, m=0.91, semi_ratio=0.9), 0.1, 0.9, (1, 2))
    assert set(found) == {'collapse', 'saturation', 'ratio'}


@pytest.mark.parametrize(
    'options', [dict(min_pseudo_positive=-1), dict(max_median=2), dict(ratio_bounds=(2, 1))]
)
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CollapseMonitorHook(**options)
