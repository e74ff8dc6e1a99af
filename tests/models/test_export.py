# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import subprocess
from pathlib import Path

import pytest
import torch

from mmfrac.models.state_dicts import detector_checkpoint
from tests.forking import python_for_tools
from tests.models.small_model import build, detector_cfg, semi_cfg

TOOL = Path(__file__).resolve().parents[2] / 'tools/model_converters/export_detector.py'


def checkpoint():
    model = build(semi_cfg(teacher=dict(type='MeanTeacher')))
    for parameter in model.teacher.ema.module.parameters():
        parameter.data.mul_(1.1)
    return model, dict(state_dict=model.state_dict(), meta=dict(epoch=3, cfg='x'), optimizer={})


@pytest.mark.parametrize('source', ['student', 'teacher'])
def test_loads_into_a_plain_detector_and_predicts_the_same(source):
    model, saved = checkpoint()
    exported = detector_checkpoint(saved, source)
    assert set(exported) == {'state_dict', 'meta'} and exported['meta'] == dict(epoch=3)
    detector = build(detector_cfg()).eval()
    detector.load_state_dict(exported['state_dict'])
    inputs = torch.rand(1, 1, 64, 64)
    own = (model.student if source == 'student' else model.teacher.ema.module).eval()
    assert torch.equal(detector.logits(inputs), own.logits(inputs))


@pytest.mark.parametrize('wrapper', ['AugmentedTeacher', 'TemporalEnsembleTeacher'])
def test_an_average_inside_of_another_teacher(wrapper):
    model = build(semi_cfg(teacher=dict(type=wrapper, teacher=dict(type='MeanTeacher'))))
    saved = dict(state_dict={f'module.{k}': v for k, v in model.state_dict().items()})
    for source in ('student', 'teacher'):
        build(detector_cfg()).load_state_dict(detector_checkpoint(saved, source)['state_dict'])


def test_what_is_not_there_is_said():
    saved = dict(state_dict=build(semi_cfg()).state_dict())
    with pytest.raises(ValueError, match='holds no teacher'):
        detector_checkpoint(saved, 'teacher')
    with pytest.raises(ValueError, match="got 'ema'"):
        detector_checkpoint(saved, 'ema')


def test_tool(tmp_path):
    _, saved = checkpoint()
    torch.save(saved, tmp_path / 'a.pth')
    call = [python_for_tools(), TOOL, tmp_path / 'a.pth', tmp_path / 'b.pth', '--source', 'teacher']
    subprocess.run(call, check=True, capture_output=True)
    found = torch.load(tmp_path / 'b.pth', weights_only=True)['state_dict']
    expected = detector_checkpoint(saved, 'teacher')['state_dict']
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert set(found) == set(expected)
