# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmengine.runner import Runner

from mmfrac.engine.hooks.teacher_hook import check_start
from mmfrac.models.teachers.base import eval_mode
from tests.configs.test_configs import tiny_config
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


SNAPSHOT = dict(type='SnapshotTeacher')
AUGMENTED = dict(type='AugmentedTeacher', teacher=SNAPSHOT)


def refuses(model):
    try:
        check_start(model)
    except ValueError as error:
        assert 'load_from=FILE.pth' in str(error)
        return True
    return False


@pytest.mark.parametrize(
    'teacher, burn_in, refused',
    [
        (SNAPSHOT, 0, True),
        (AUGMENTED, 0, True),
        (AUGMENTED, 1, False),
        (AUGMENTED, 'all', False),
        (dict(type='PiTeacher'), 0, False),
        (dict(type='AugmentedTeacher'), 0, False),
    ],
)
def test_nothing_but_a_snapshot_of_no_burn_in_is_refused(teacher, burn_in, refused):
    model = build(semi_cfg(teacher=teacher, semi_train_cfg=dict(burn_in_epochs=burn_in)))
    assert refuses(model) is refused


@pytest.mark.parametrize('whole', ['', 'student'])
def test_weights_of_the_whole_detector_are_enough(whole):
    model = small_model()
    assert refuses(model)
    # of the backbone alone they are not
    model.student.backbone.init_cfg = dict(type='Pretrained', checkpoint='a.pth')
    assert refuses(model)
    model.get_submodule(whole).init_cfg = dict(type='Pretrained', checkpoint='a.pth')
    assert not refuses(model)


def test_a_training_begins_with_weights(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.model.teacher = AUGMENTED
    cfg.model.semi_train_cfg.burn_in_epochs = 0
    cfg.train_cfg.update(max_epochs=1, val_interval=10)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=r'AugmentedTeacher: .* no weights are loaded'):
        runner.train()
    assert runner.iter == 0
    weights = tmp_path / 'supervised.pth'
    torch.save(runner.model.student.state_dict(), weights)
    cfg.load_from = str(weights)
    cfg.visualizer.name = cfg.experiment_name = 'with_weights'
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 1 and runner.model.teacher.teacher.is_taken
