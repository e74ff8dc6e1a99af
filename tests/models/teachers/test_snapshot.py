# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch

from mmfrac.models.teachers.base import eval_mode
from tests.models.small_model import build, film, semi_batch, semi_cfg


def small_model():
    return build(semi_cfg(teacher=dict(type='SnapshotTeacher')))


def moved(model, seed):
    """The student goes somewhere else."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in model.student.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.1)
    return model


def maps_of(detector, images):
    with torch.no_grad(), eval_mode(detector):
        return detector.logits(images).sigmoid()


def test_it_is_the_student_at_the_first_semi_supervised_step():
    model = small_model().train()
    images = torch.rand(2, 1, 64, 64)
    model.set_epoch(0)
    model.start_teacher()
    # burn-in: the student learns, and is asked outside of training (scores before the first epoch)
    moved(model, 1)
    with eval_mode(model.teacher):
        found = model.teacher(model.student, images, [])
    torch.testing.assert_close(found, maps_of(model.student, images))
    moved(model, 2)
    wanted = maps_of(model.student, images)
    torch.testing.assert_close(model.teacher(model.student, images, []), wanted)
    moved(model, 3)
    assert not torch.allclose(maps_of(model.student, images), wanted)
    torch.testing.assert_close(model.teacher(model.student, images, []), wanted)
    # a step with gradients in which statistics of the student move
    data = semi_batch([film('a', label=0)], [film('c', regions=False)])
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    (losses['loss_semi'] + losses['loss_sup']).backward()
    torch.testing.assert_close(model.teacher(model.student, images, []), wanted)
    assert all(value.grad is None for value in model.teacher.parameters())


def test_a_resumed_training_keeps_it():
    images = torch.rand(1, 1, 64, 64)
    model = moved(small_model(), 1).train()
    wanted = model.teacher(model.student, images, [])
    moved(model, 2)
    other = moved(small_model(), 3).train()
    other.load_state_dict(model.state_dict())
    other.start_teacher()
    torch.testing.assert_close(other.teacher(other.student, images, []), wanted)
    assert not torch.allclose(maps_of(other.student, images), wanted)


def test_a_new_training_takes_its_own():
    images = torch.rand(1, 1, 64, 64)
    model = moved(small_model(), 1).train()
    model.teacher(model.student, images, [])
    moved(model, 2)
    other = small_model().train()
    other.teacher.open([], '', resume=False)
    other.load_state_dict(model.state_dict())
    other.start_teacher()
    wanted = maps_of(model.student, images)
    torch.testing.assert_close(other.teacher(other.student, images, []), wanted)


def test_its_flag_stays_on_the_host():
    model = small_model().to('meta')
    assert model.teacher.is_taken.device.type == 'cpu'
    assert next(model.teacher.model.parameters()).device.type == 'meta'
