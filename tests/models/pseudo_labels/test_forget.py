# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a step learns is of one training."""

import inspect

import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from mmfrac.models import pseudo_labels
from tests.models.small_model import build, semi_cfg

# steps with options, without which they learn nothing or cannot be built
OPTIONS = dict(
    ConstantSharpening=dict(a=4.0, t=0.3), NoisyOrPosterior=dict(teacher_alpha_r='match')
)
STEPS = [
    dict(type=name, **OPTIONS.get(name, {}))
    for name, kind in vars(pseudo_labels).items()
    if inspect.isclass(kind) and issubclass(kind, nn.Module)
]


def model_with(step):
    return build(semi_cfg(pseudo_pipeline=[step]))


def state(step):
    return {name: value.clone() for name, value in step.state_dict().items()}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.equal(value.nan_to_num(-7), wanted[name].nan_to_num(-7)), name


@pytest.mark.parametrize('cfg', STEPS, ids=lambda cfg: cfg['type'])
def test_a_step_begins_as_it_was_built(cfg):
    model = model_with(cfg)
    (step,) = model.pseudo_pipeline
    first = state(step)
    for value in step.buffers():
        value.fill_(0.9 if value.is_floating_point() else 3)
    model.forget_training()
    assert_equal(state(step), first)


def test_some_steps_learn():
    learning = {cfg['type'] for cfg in STEPS if state(model_with(cfg).pseudo_pipeline[0])}
    assert learning == {
        *('AdaptiveThreshold', 'DynamicSharpening', 'MixtureSharpening'),
        *('NoisyOrPosterior', 'SoftMatchWeight'),
    }


def test_scores_of_an_epoch_that_did_not_end_are_forgotten():
    model = model_with(dict(type='DynamicSharpening'))
    step = model.pseudo_pipeline[0]
    step.note_scores(torch.full((1, 1, 2, 2), 0.4), [DetDataSample(metainfo=dict(img_path='a'))])
    model.forget_training()
    assert not step.pop_scores()


def test_the_threshold_begins_with_its_option():
    model = model_with(dict(type='AdaptiveThreshold', init=0.3))
    model.pseudo_pipeline[0].tau.fill_(0.9)
    model.forget_training()
    assert model.pseudo_pipeline[0].tau.item() == pytest.approx(0.3)


def test_a_step_that_is_told_otherwise_is_refused():
    class WantsMore(pseudo_labels.KnownPositive):
        def forget(self, runner):
            pass

    with pytest.raises(TypeError, match=r'WantsMore.forget is called as forget'):
        build(semi_cfg(pseudo_pipeline=[dict(type=WantsMore), dict(type='WarpToStudent')]))
