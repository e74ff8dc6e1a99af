# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
from torch import nn

from mmfrac.engine import RampedMeanTeacherHook


@pytest.mark.parametrize(
    ('momentum', 'expected'),
    # means of the start 0 and the students 1, 2, 3; then no less than the momentum
    [(0.01, [0.5, 1.0, 1.5]), (0.4, [0.5, 1.1, 1.86])],
)
def test_mean_of_all_students_then_the_moving_one(momentum, expected):
    model = nn.Module()
    model.student, model.teacher = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.student.weight)
    hook = RampedMeanTeacherHook(momentum=momentum)
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_train(runner)
    assert model.teacher.weight.item() == 0
    found = []
    for runner.iter in range(3):
        nn.init.constant_(model.student.weight, runner.iter + 1.0)
        hook.after_train_iter(runner, runner.iter)
        found.append(model.teacher.weight.item())
    assert found == pytest.approx(expected)
