# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import inspect

import pytest
import torch
from mmdet.registry import MODELS

from mmfrac.models import BaseTeacher, WrappingTeacher
from mmfrac.models.teachers.base import EVENTS
from tests.models.small_model import build, semi_cfg


@pytest.mark.parametrize('name', ['after_steps', 'afterstep', 'stat', 'start_epochs', 'end_epcoh'])
def test_a_misspelt_event_is_an_error(name):
    with pytest.raises(TypeError, match=f'Mine.{name} is never called: the event is'):
        type('Mine', (BaseTeacher,), {name: lambda self, student: None})


def test_an_event_with_other_arguments_is_an_error():
    with pytest.raises(TypeError, match=r'Mine\.after_step is called as after_step\(self, student'):
        type('Mine', (BaseTeacher,), dict(after_step=lambda self: None))


def test_methods_of_ones_own_are_let_be():
    class Mine(BaseTeacher):
        def views(self, inputs):
            return inputs

        def extra_repr(self):
            return 'mine'

        def start(self, student, log=None):
            self.started = True

    assert Mine().views(3) == 3


@MODELS.register_module(force=True)
class Noting(BaseTeacher):
    """Notes what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, student, inputs, samples):
        return torch.zeros(len(inputs), 1, 16, 16)


@MODELS.register_module(force=True)
class WrappingNoting(WrappingTeacher):
    """A wrapper of one's own."""


def noting(event):
    def method(self, *args):
        self.told.append((event, args))

    return method


for event in EVENTS:
    setattr(Noting, event, noting(event))


def test_a_wrapping_teacher_hands_every_event_on():
    one = WrappingTeacher(dict(type='Noting'))
    arguments = dict(
        attach=('student',),
        open=([('a', 'b')], 'work', True),
        check_checkpoint=({'teacher.x': 1, 'other': 2},),
        start=('student',),
        start_epoch=(3,),
        after_step=('student',),
        end_epoch=(),
        note_checkpoint=(),
        known=([],),
    )
    assert set(arguments) == set(EVENTS)
    for event, args in arguments.items():
        getattr(one, event)(*args)
    expected = dict(arguments, check_checkpoint=({'x': 1},))
    assert dict(one.teacher.told) == expected


def test_every_method_of_a_teacher_but_its_map_is_an_event():
    own = vars(BaseTeacher)
    methods = {name for name in own if inspect.isfunction(own[name]) and not name.startswith('_')}
    assert set(EVENTS) == methods - {'forward'}


# of the class itself, so that a new one is here, too
ATTRIBUTES = [name for name, value in vars(BaseTeacher).items() if isinstance(value, bool)]


@pytest.mark.parametrize('attribute', ATTRIBUTES)
def test_a_wrapping_teacher_is_what_it_or_its_inner_teacher_is(attribute):
    def wrapped(times):
        cfg = dict(type='Noting')
        for _ in range(times):
            cfg = dict(type='WrappingNoting', teacher=cfg)
        return getattr(MODELS.build(cfg), attribute)

    assert {'has_memory', 'needs_trained_student'} <= set(ATTRIBUTES)
    assert not wrapped(2)
    for of in (Noting, WrappingNoting):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of, attribute, True)
            assert wrapped(1) and wrapped(2)


def test_flipped_views_are_not_asked_of_a_memory_within_a_wrapper():
    memory = dict(type='TemporalEnsembleTeacher')
    teacher = dict(type='WrappingNoting', teacher=dict(type='WrappingNoting', teacher=memory))
    wanted = r"put the AugmentedTeacher into it, dict\(type='TemporalEnsembleTeacher', teacher="
    with pytest.raises(ValueError, match=wanted):
        MODELS.build(dict(type='AugmentedTeacher', teacher=teacher))
    # it may stand within the memory
    memory['teacher'] = dict(type='AugmentedTeacher')
    assert MODELS.build(teacher).has_memory


def test_what_is_no_teacher_is_refused():
    with pytest.raises(TypeError, match='KLDLoss is no teacher'):
        build(semi_cfg(teacher=dict(type='KLDLoss')))
