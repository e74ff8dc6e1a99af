# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import runpy
import sys
import types
from pathlib import Path

import cv2
import matplotlib.pyplot
import mmdet
import pytest
from mmengine.runner import Runner

from mmfrac.visualization.run_plots import plot_keys, read_series
from tests.configs.test_configs import tiny_config

ANALYZE_LOGS = Path(mmdet.__file__).parent / '.mim' / 'tools/analysis_tools/analyze_logs.py'


@pytest.fixture(scope='module')
def run(tiny_data, tmp_path_factory):
    """Work dir of one burn-in and one semi-supervised epoch of two steps, each validated."""
    work_dir = tmp_path_factory.mktemp('logged') / 'run'
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, work_dir)
    cfg.train_cfg.val_interval = 1
    cfg.train_dataloader.batch_sampler.epoch_length = 2
    cfg.default_hooks.logger.interval = 1
    # mmengine has one visualizer a name in a process
    cfg.visualizer.name = 'test_log_plots'
    Runner.from_cfg(cfg).train()
    return work_dir


def test_training_goes_by_iteration_and_validation_by_epoch(run):
    series = read_series(run)
    assert series['loss_sup'].unit == series['time'].unit == 'iteration'
    assert sorted(series['loss_sup'].values) == [1, 2, 3, 4]
    assert sorted(series['loss_semi'].values) == [3, 4]
    for key in ('frac/AUROC', 'frac/FROC'):
        assert series[key].unit == 'epoch' and sorted(series[key].values) == [1, 2]
    assert sorted(series['sharpening/t'].values) == [2]


def test_keys_of_several_runs_are_drawn(run, tmp_path):
    other = tmp_path / 'other'
    log = other / '20240101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.5, "epoch": 1, "iter": 1, "step": 1}\n{"frac/FROC": 0.5, "step": 1}')
    said = []
    out = plot_keys(
        [run, other], ['loss', 'loss_semi', 'frac/FROC'], tmp_path / 'k.png', said.append
    )
    picture = cv2.imread(str(out))
    # three panels below each other
    assert picture.shape[0] > picture.shape[1]
    assert said == [f'{other}: no loss_semi logged']
    with pytest.raises(ValueError, match=r"\['bbox_mAP'\] was not logged; there are: .*frac/FROC"):
        plot_keys([run], ['bbox_mAP'], tmp_path / 'none.png')
    with pytest.raises(FileNotFoundError, match='absent'):
        plot_keys([tmp_path / 'absent'], ['loss'], tmp_path / 'none.png')


def test_tool_draws_keys(run, tmp_path, repository, monkeypatch, capsys):
    tool = repository / 'tools/analysis_tools/plot_run.py'
    call = [str(tool), str(run), '--keys', 'loss_sup', 'frac/AUROC', '--out', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', call)
    runpy.run_path(str(tool), run_name='__main__')
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / 'keys.png')]
    assert cv2.imread(str(tmp_path / 'keys.png')) is not None


@pytest.mark.skipif(not ANALYZE_LOGS.is_file(), reason='mmdet was installed without its tools')
def test_mmdets_analyze_logs_reads_our_log(run, tmp_path, monkeypatch, capsys):
    # seaborn only sets the style there
    stand_in = types.SimpleNamespace(set_style=lambda style: None)
    monkeypatch.setitem(sys.modules, 'seaborn', stand_in)
    monkeypatch.setattr(matplotlib.pyplot, 'show', lambda: None)
    (log,) = run.glob('*/vis_data/scalars.json')
    assert all(json.loads(line) for line in log.read_text().splitlines())

    def analyse(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(ANALYZE_LOGS), *map(str, arguments)])
        runpy.run_path(str(ANALYZE_LOGS), run_name='__main__')
        return capsys.readouterr().out

    out = tmp_path / 'loss.png'
    analyse('plot_curve', log, '--keys', 'loss_sup', 'lr', '--backend', 'Agg', '--out', out)
    assert cv2.imread(str(out)) is not None
    # without it mmdet leaves out the first line of an epoch, here all there is
    said = analyse('cal_train_time', log, '--include-outliers')
    assert 'average iter time' in said and 'nan' not in said
