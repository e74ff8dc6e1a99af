# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import runpy
import sys
import time

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from mmfrac.engine.costs.model_costs import (
    count_operations,
    count_parameters,
    measure,
    measure_all,
    predicting_network,
)
from mmfrac.engine.costs.step_timer_hook import StepTimerHook
from tests.models.small_model import build, detector_cfg, semi_cfg
from tests.tools.tiny_run import ROOT, write_config

TINY = {
    'train_dataloader.batch_size': 2,
    'test_dataloader.num_workers': 0,
}


class TwoConvs(BaseModel):
    """Convolutions of 3 x 3 x 1 x 8 and 1 x 1 x 8 x 2."""

    def __init__(self):
        super().__init__(DetDataPreprocessor())
        self.convs = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 2, 1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'tensor' and len(data_samples) == 1
        return self.convs(inputs)


def test_operations_and_parameters_of_a_known_network():
    film = dict(
        inputs=[torch.zeros(1, 20, 30)],
        data_samples=[DetDataSample(metainfo=dict(img_shape=(20, 30)))],
    )
    model = TwoConvs()
    gflops, shape = count_operations(model, film)
    assert gflops * 1e9 == pytest.approx(20 * 30 * (9 * 8 + 8 * 2))
    assert shape == [1, 20, 30]
    assert count_parameters(model) == 9 * 8 + 8 + 8 * 2 + 2
    # the forward method is the model's own again
    assert model.forward.__func__ is TwoConvs.forward


def test_network_that_predicts_is_counted_once():
    detector, semi = build(detector_cfg()), build(semi_cfg(teacher=dict(type='MeanTeacher')))
    assert predicting_network(detector) is detector
    assert predicting_network(semi) is semi.student
    assert count_parameters(semi.student) == count_parameters(detector)
    semi.semi_test_cfg = dict(predict_on='teacher')
    assert predicting_network(semi) is semi.teacher


def test_timer_takes_the_step_with_its_hooks_and_not_the_loading():
    timer = StepTimerHook()
    for films in ([1, 2, 3], dict(sup=[1, None], unsup=[None, 1])):
        time.sleep(0.05)
        timer.before_train_iter(None, 0, dict(inputs=films))
        time.sleep(0.01)
        timer.after_train_iter(None, 0)
    assert timer.num_images == [3, 2]
    assert all(0.01 <= seconds < 0.04 for seconds in timer.seconds)
    assert timer.get_triggered_stages() and StepTimerHook.priority == 'LOWEST'
    assert isinstance(timer, Hook)


@pytest.mark.slow
@pytest.mark.parametrize('base', ['phantom/frac_ssl_phantom.py', 'compare/phantom/soft_teacher.py'])
def test_costs_of_a_config(base, tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data, base=base)
    costs = measure(config, str(tiny_data), TINY, steps=2)
    assert costs.config == str(config) and costs.device in ('cpu', 'cuda')
    is_map = base.startswith('phantom')
    assert costs.batch_size == 2 and costs.input_shape == [1 if is_map else 3, 64, 64]
    # a teacher of its own has as many parameters again
    assert costs.train_params == costs.params * (1 if is_map else 2)
    assert 0.001 < costs.gflops < 1
    for figure in (costs.train_step_seconds, costs.film_seconds):
        assert 0 < figure < 60
    # torch and mmdet alone take more than 100 MiB
    assert costs.peak_memory_bytes > 100 * 2**20
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.slow
@pytest.mark.parametrize('burn_in', [0, 'all'])
def test_costs_need_no_trained_weights(burn_in, tiny_data, tmp_path):
    changes = (
        "model['teacher'] = dict(type='SnapshotTeacher')",
        f"model['semi_train_cfg'] = dict(burn_in_epochs={burn_in!r})",
    )
    config = write_config(tmp_path, tiny_data, *changes)
    costs = measure(config, str(tiny_data), TINY, steps=2)
    assert costs.train_params == 2 * costs.params and costs.train_step_seconds > 0


@pytest.mark.slow
def test_each_config_has_a_process_of_its_own(tiny_data, tmp_path, monkeypatch):
    config = write_config(tmp_path, tiny_data)
    held = torch.ones(100 * 2**20)  # 400 MiB that must not count
    here = measure_rss_mib()
    (costs,) = measure_all([config], str(tiny_data), TINY, steps=1)
    assert held.sum() > 0 and costs.peak_memory_bytes / 2**20 < here - 200


def measure_rss_mib() -> float:
    from mmfrac.engine.costs.model_costs import peak_memory_bytes

    return peak_memory_bytes() / 2**20


def test_tool_prints_a_table_and_writes_json_lines(tiny_data, tmp_path, monkeypatch, capsys):
    import mmfrac.engine.costs.model_costs as module

    costs = module.ModelCosts('a.py', 10, 20, 0.5, 0.25, 0.125, 2**20, 4, [1, 8, 8], 'cpu', 1)
    monkeypatch.setattr(module, 'measure_all', lambda *arguments: iter([costs, costs]))
    tool = ROOT / 'tools/analysis_tools/model_costs.py'
    out = tmp_path / 'costs.jsonl'
    monkeypatch.setattr(sys, 'argv', [str(tool), 'a.py', 'b.py', '--out', str(out)])
    runpy.run_path(str(tool), run_name='__main__')
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 2
    wanted = dict(
        params=10,
        gflops=0.5,
        train_step_seconds=0.25,
        film_seconds=0.125,
        peak_memory_bytes=2**20,
    )
    assert wanted.items() <= lines[0].items()
    assert 'a.py' in capsys.readouterr().out


def test_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.py'):
        measure(tmp_path / 'none.py')
    with pytest.raises(ValueError, match='steps must be a positive number'):
        measure(tmp_path / 'none.py', steps=0)
