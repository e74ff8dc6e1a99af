# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/analysis_tools/gpu_check.py on a CPU with the smallest networks."""

import json
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfrac.engine.runner import compiled
from tests.models.small_model import detector_cfg

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/gpu_check.py'


@pytest.fixture
def tool(monkeypatch):
    """Names of the tool, with networks that take no time."""
    monkeypatch.syspath_prepend(str(TOOL.parent))
    names = runpy.run_path(str(TOOL))
    network = names['Network']

    def small(config, *args, **kwargs):
        cfg = Config.fromfile(TOOL.parents[2] / 'configs' / config)
        if 'detector' in cfg.model:
            cfg.model.detector = {**detector_cfg(), 'data_preprocessor': None}
        elif cfg.model.type == 'ProbMapDetector':
            cfg.model = detector_cfg()
        else:
            cfg.model = Config.fromfile(
                TOOL.parents[2] / 'configs/compare/phantom/retinanet.py'
            ).model
        return network(cfg, *args, **kwargs)

    globals_of_sections = names['lines'].__globals__
    monkeypatch.setitem(globals_of_sections, 'Network', small)
    return globals_of_sections


def options(tool, seconds=600.0, **changes):
    found = dict(device='cpu', size=64, images=2, steps=1, ends=time.monotonic() + seconds)
    return tool['Options'](**(found | changes))


@pytest.mark.slow
def test_sections_on_a_cpu(tool, monkeypatch):
    monkeypatch.setitem(tool, 'PRECISIONS', ['fp32', 'bf16'])
    # torch.compile needs a compiler and a minute
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self: None)
    monkeypatch.setattr(compiled, 'check_compiler', lambda device: None)
    names = ['waiting', 'agreement', 'detectors', 'steps']
    found = list(tool['lines'](names, options(tool)))
    assert [line.note for line in found if line.is_fault] == []
    by_section = {name: [line for line in found if line.section == name] for name in names}
    assert [len(lines) for lines in by_section.values()] == [4, 1, 2, 16]
    (agreement,) = by_section['agreement']
    assert agreement.figures['largest difference of a map'] == 0
    assert {'loss_semi (cpu)', 'm (cpu)', 't (cpu)', 'a (cpu)', 'metric frac/AUROC (cpu)'} <= set(
        agreement.figures
    )
    assert all(line.figures['images/s'] > 0 for line in by_section['steps'])
    assert len({(line.section, line.case) for line in found}) == len(found)
    assert all(line.figures['train ratio'] > 0 for line in by_section['detectors'])


def test_a_difference_is_a_fault(tool, monkeypatch):
    outcomes = iter([dict(loss_sup=1.0, m=0.5), dict(loss_sup=1.2, m=0.5)])
    maps = torch.zeros(1, 1, 2, 2).numpy()
    monkeypatch.setitem(tool, 'outcome', lambda network: (maps, next(outcomes)))
    monkeypatch.setitem(tool, 'Network', lambda *args: None)
    (line,) = tool['lines'](['agreement'], options(tool, device='cuda:0'))
    assert line.is_fault and line.note == 'differ: loss_sup'


def test_what_fails_is_a_line_and_the_rest_goes_on(tool, monkeypatch):
    def failing(options):
        def fails():
            raise RuntimeError('the driver\nis gone')

        def memory():
            raise torch.OutOfMemoryError('no memory')

        yield 'one', fails
        yield 'two', memory
        yield 'three', lambda: tool['Line']('steps', 'three', {'images/s': 2.0})
        yield 'four', lambda: None

    monkeypatch.setitem(tool['SECTIONS'], 'steps', failing)
    found = list(tool['lines'](['steps'], options(tool)))
    assert [line.is_fault for line in found] == [True, True, False, False]
    assert found[0].note == 'RuntimeError: the driver is gone'
    assert 'fewer --images' in found[1].note
    assert found[3].note == 'left out: the time was over'
    late = list(tool['lines'](['steps'], options(tool, seconds=-1)))
    assert {line.note for line in late} == {'left out: the time was over'}


@pytest.mark.slow
def test_launch_is_resumed_and_the_table_is_written(tool, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'check.json'
    monkeypatch.setattr(
        sys, 'argv', [str(TOOL), '--sections', 'launch', '--size', '64', '--out', str(out)]
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    tool['main']()
    content = json.loads(out.read_text())
    (line,) = content['lines']
    assert not line['is_fault'], line
    assert line['note'] == 'gloo; 6 steps of 6' and content['machine']['cpu']
    assert '0 of 1 lines are faults' in capsys.readouterr().out


def test_bad_sizes(tool, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), '--size', '100'])
    with pytest.raises(ValueError, match=r'--size must be a multiple of 32.*got 100'):
        tool['main']()
