# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch

from mmfrac.models import ProbMapDetector
from tests.models.small_model import build, detector_cfg, film, semi_batch, semi_cfg


def saved(path, seed, prefix=''):
    model = build(detector_cfg())
    torch.manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) * 0.1)
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state), path)
    return model.eval()


def test_mean_of_the_maps_and_nothing_learns(tmp_path):
    # of supervised training, and of teacher-student training
    first = saved(tmp_path / 'a.pth', 1)
    second = saved(tmp_path / 'b.pth', 2, prefix='student.')
    paths = [str(tmp_path / name) for name in ('a.pth', 'b.pth')]
    model = build(semi_cfg(teacher=dict(type='FrozenTeacher', checkpoints=paths))).train()
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        wanted = (first.logits(images).sigmoid() + second.logits(images).sigmoid()) / 2
    found = model.teacher(model.student, images, [])
    torch.testing.assert_close(found, wanted)
    # a step with gradients, in which statistics of the student move
    data = semi_batch([film('a', label=0)], [film('c', regions=False)])
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    (losses['loss_semi'] + losses['loss_sup']).backward()
    assert torch.equal(model.teacher(model.student, images, []), found)
    # neither saved nor optimised
    assert not any(name.startswith('teacher') for name in model.state_dict())
    assert not list(model.teacher.parameters())


def test_of_another_structure(tmp_path):
    other = detector_cfg()
    other['backbone']['base_channels'] = 16
    other['neck']['in_channels'] = [16, 32, 64, 128]
    larger = build(other)
    torch.save(larger.state_dict(), tmp_path / 'larger.pth')
    teacher = dict(type='FrozenTeacher', checkpoints=str(tmp_path / 'larger.pth'))
    model = build(semi_cfg(teacher=teacher | dict(detector=other)))
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            model.teacher(model.student, images, []), larger.eval().logits(images).sigmoid()
        )
    torch.save(dict(state_dict={'x': torch.zeros(1)}), tmp_path / 'none.pth')
    with pytest.raises(ValueError, match=r"none\.pth' lacks \d+ weights of the detector"):
        build(semi_cfg(teacher=teacher | dict(checkpoints=str(tmp_path / 'none.pth'))))


def test_without_checkpoints():
    with pytest.raises(ValueError, match='at least one checkpoint'):
        build(semi_cfg(teacher=dict(type='FrozenTeacher', checkpoints=[])))


@pytest.mark.parametrize('wrapped', [False, True])
def test_of_another_normalisation(tmp_path, wrapped, monkeypatch):
    seen = []
    logits = ProbMapDetector.logits
    monkeypatch.setattr(
        ProbMapDetector, 'logits', lambda self, images: seen.append(images) or logits(self, images)
    )
    own = detector_cfg()
    own['data_preprocessor'] = own['data_preprocessor'] | dict(mean=[0.5], std=[1 / 2048])
    saved(tmp_path / 'a.pth', 1)
    images = torch.rand(2, 1, 64, 64)
    for detector, expected in (
        (own, (images - 0.5) * 2048),
        (detector_cfg(), (images - 0.449) / 0.226),
        (None, (images - 0.449) / 0.226),
    ):
        teacher = dict(type='FrozenTeacher', checkpoints=str(tmp_path / 'a.pth'), detector=detector)
        if wrapped:
            teacher = dict(type='AugmentedTeacher', views=['none'], teacher=teacher)
        model = build(semi_cfg(teacher=teacher))
        model.teacher(model.student, (images - 0.449) / 0.226, [])
        torch.testing.assert_close(seen.pop(), expected, rtol=1e-4, atol=1e-3)


def test_channels_of_another_normalisation(tmp_path):
    own = detector_cfg()
    own['data_preprocessor'] = own['data_preprocessor'] | dict(mean=[0.5] * 3, std=[0.5] * 3)
    saved(tmp_path / 'a.pth', 1)
    teacher = dict(type='FrozenTeacher', checkpoints=str(tmp_path / 'a.pth'), detector=own)
    model = build(semi_cfg(teacher=teacher))
    with pytest.raises(ValueError, match='normalises 3 channels, the student 1'):
        model.teacher(model.student, torch.rand(1, 1, 64, 64), [])
