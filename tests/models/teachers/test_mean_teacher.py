# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import MomentumAnnealingEMA
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mmfrac.engine import TeacherHook
from mmfrac.models import BaseTeacher
from mmfrac.models.ema import StepEMA
from tests.models.small_model import build, semi_cfg

MEAN_TEACHER = dict(type='MeanTeacher')


def small_model(**teacher):
    return build(semi_cfg(teacher=dict(MEAN_TEACHER, **teacher)))


def wrapper(model, **options):
    return OptimWrapper(torch.optim.SGD(model.student.parameters(), lr=0.1), **options)


def weight_of(detector):
    return detector.prob_map_head.logit_conv.weight


def statistics_of(detector):
    return detector.backbone.bn1.running_mean


def test_three_steps_by_hand():
    model = small_model(max_decay=0.6)
    average = []
    for value in (1.0, 4.0, 10.0):
        weight_of(model.student).data.fill_(value)
        statistics_of(model.student).fill_(value)
        model.teacher.after_step(model.student)
        average.append(weight_of(model.teacher.ema.module).unique().tolist())
        assert statistics_of(model.teacher.ema.module).unique().tolist() == [value]
    # decays min(1 - 1/(step + 1), 0.6) = 0, 0.5, 0.6: 1, (1 + 4) / 2, 0.6 * 2.5 + 0.4 * 10
    assert [len(values) for values in average] == [1, 1, 1]
    assert [values[0] for values in average] == pytest.approx([1, 2.5, 5.5])


@pytest.mark.parametrize('update_buffers', [False, True])
def test_the_average_is_that_of_mmengine(update_buffers):
    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
    slow = MomentumAnnealingEMA(student, momentum=0.3, gamma=1, update_buffers=update_buffers)
    fast = StepEMA(student, max_decay=0.7, use_buffers=update_buffers)
    assert not any(weight.requires_grad for weight in fast.parameters())
    for step in range(8):
        student(torch.rand(2, 1, 8, 8))
        for weight in student.parameters():
            weight.data += torch.randn_like(weight)
        slow.update_parameters(student)
        fast.update_parameters(student)
        if step == 4:  # the number of steps comes back with the state
            resumed = StepEMA(student, max_decay=0.7, use_buffers=update_buffers)
            resumed.update_parameters(student)
            resumed.load_state_dict(fast.state_dict())
            fast = resumed
        assert fast.n_averaged == slow.steps == step + 1
        wanted, found = slow.module.state_dict(), fast.module.state_dict()
        assert list(wanted) == list(found)
        for name, value in wanted.items():
            # MMEngine leaves integers as they were in the first step
            if value.is_floating_point() or not update_buffers:
                assert torch.equal(found[name], value), (step, name)


def test_older_checkpoints_have_another_name_for_the_number_of_steps():
    student = torch.nn.Conv2d(1, 3, 3)
    old = MomentumAnnealingEMA(student)
    old.update_parameters(student)
    average = StepEMA(student, max_decay=0.5)
    average.load_state_dict(old.state_dict())
    assert average.n_averaged == 1


def test_statistics_are_averaged_on_request():
    model = small_model(max_decay=0.6, average_buffers=True)
    for value in (1.0, 4.0):
        statistics_of(model.student).fill_(value)
        model.teacher.after_step(model.student)
    assert statistics_of(model.teacher.ema.module).unique().tolist() == pytest.approx([2.5])


def test_starts_as_the_loaded_student_and_goes_on_after_a_resume():
    model = small_model()
    weight_of(model.student).data.fill_(3.0)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper(model), _resume=False)
    TeacherHook().before_train(runner)
    assert (weight_of(model.teacher.ema.module) == 3).all()
    TeacherHook().after_train_iter(runner, 0)
    weight_of(model.student).data.fill_(5.0)
    TeacherHook().before_train(runner)
    assert (weight_of(model.teacher.ema.module) == 3).all()
    resumed = small_model()
    resumed.load_state_dict(model.state_dict())
    for one in (model, resumed):
        one.teacher.after_step(one.student)
    for name, value in model.teacher.state_dict().items():
        assert torch.equal(value, resumed.teacher.state_dict()[name]), name


def test_follows_steps_not_iterations_where_gradients_are_accumulated():
    model = small_model()
    optim_wrapper = wrapper(model, accumulative_counts=2)
    # five iterations: a step after the second, the fourth and the last
    optim_wrapper.initialize_count_status(model, 0, 5)
    runner = SimpleNamespace(model=model, optim_wrapper=optim_wrapper)
    followed = []
    for index in range(5):
        optim_wrapper.update_params(weight_of(model.student).sum())
        TeacherHook().after_train_iter(runner, index)
        followed.append(int(model.teacher.ema.n_averaged))
    assert followed == [0, 1, 1, 2, 3]
    runner.optim_wrapper = OptimWrapperDict(one=optim_wrapper)
    TeacherHook().after_train_iter(runner, 5)
    assert model.teacher.ema.n_averaged == 4


def test_map_is_the_averaged_networks_in_eval_mode_and_leaves_no_trace():
    model = small_model()
    model.train()
    model.teacher.start(model.student)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.rand(2, 1, 64, 64)
    weight_of(model.student).data.add_(1)
    found = model.teacher(model.student, inputs, [])
    weight_of(model.student).data.sub_(1)
    assert found.shape == (2, 1, 16, 16) and not found.requires_grad
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], msg=name, equal_nan=True)
    assert model.teacher.ema.module.training
    model.eval()
    torch.testing.assert_close(found, model.student.logits(inputs).sigmoid())


def test_only_the_student_is_trained():
    model = small_model()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith('student.') for name in trained)


def test_a_teacher_needs_nothing_but_a_call():
    class Constant(BaseTeacher):
        def forward(self, student, inputs, samples):
            return torch.full((len(inputs), 1, 16, 16), 0.5)

    if 'ConstantTeacherOfTest' not in MODELS:
        MODELS.register_module(name='ConstantTeacherOfTest', module=Constant)
    model = build(semi_cfg(teacher=dict(type='ConstantTeacherOfTest')))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper(model), _resume=False)
    TeacherHook().before_train(runner)
    TeacherHook().after_train_iter(runner, 0)
    assert (model.teacher(model.student, torch.rand(1, 1, 64, 64), []) == 0.5).all()


def test_bad_decay():
    with pytest.raises(ValueError, match=r'max_decay must lie in \(0, 1\)'):
        MODELS.build(dict(MEAN_TEACHER, max_decay=1))
