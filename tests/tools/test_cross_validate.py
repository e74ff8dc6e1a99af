# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A real cross-validation of two folds: killed in one, resumed, finished, summarised."""

import importlib.util
import io
import json
import os
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmfrac.apis import FracInferencer
from mmfrac.evaluation import froc
from mmfrac.evaluation.metrics.files import read_records
from mmfrac.experiments.cross_validation import FoldResult, cross_validate
from mmfrac.experiments.fold_summary import summary_table
from mmfrac.experiments.jobs import Tools, read_training
from mmfrac.experiments.results import read_result
from mmfrac.preparation.splits.folds import write_folds
from tests.forking import python_for_tools
from tests.tools.tiny_run import ROOT, load, write_config

TOOL = ROOT / 'tools/cross_validate.py'
KILL_ONCE = """
import os
import runpy
import signal
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module(force=True)
class KillOnceHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        marker = Path(__file__).with_name('killed')
        if runner.iter == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""
CHANGES = """
custom_imports = dict(imports=['mmfrac', 'kill_once'])
custom_hooks = [*_base_.custom_hooks, dict(type='KillOnceHook')]
train_cfg['val_interval'] = 1
"""


@pytest.fixture(scope='module')
def folds(tiny_data, tmp_path_factory):
    files = [tiny_data / f'annotations/{part}.json' for part in ('train', 'val', 'test')]
    folder = tmp_path_factory.mktemp('split') / 'folds'
    write_folds(files, folder, num_folds=2, hold_out=6)
    return folder


@pytest.fixture(scope='module')
def finished(tiny_data, folds, tmp_path_factory):
    """Work dir of a cross-validation whose first fold was killed once, and the tool's output."""
    folder = tmp_path_factory.mktemp('cross_validation')
    (folder / 'kill_once.py').write_text(KILL_ONCE)
    config = write_config(folder, tiny_data, CHANGES)
    # in this process, to save starting it twice; the trainings are processes of their own
    spec = importlib.util.spec_from_file_location('cross_validate_tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = [TOOL, config, folds, '--work-dir', folder / 'run']
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv('PYTHONPATH', f'{ROOT}{os.pathsep}{folder}')
        monkeypatch.setenv('OMP_NUM_THREADS', '1')
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
        monkeypatch.setattr(sys, 'executable', python_for_tools())
        monkeypatch.setattr(sys, 'argv', [str(argument) for argument in arguments])
        assert tool.main() == 1
        assert not read_training(folder / 'run/fold0').is_finished
        assert (folder / 'run/fold0/epoch_1.pth').is_file()
        assert not (folder / 'run/fold0/epoch_2.pth').exists()
        assert not (folder / 'run/fold1').exists()
        output = io.StringIO()
        with redirect_stdout(output):
            assert tool.main() == 0
    return folder, output.getvalue()


def fold_result(folder, fold):
    return read_result(FoldResult, folder / f'run/fold{fold}/result.json')


@pytest.mark.slow
def test_a_killed_fold_is_resumed(finished, folds):
    folder, output = finished
    assert 'fold 0: resumed' in output and 'fold 1: training\n' in output
    log = max((folder / 'run/fold0').glob('*/*.log')).read_text()
    assert 'resumed epoch: 1, iter: 2' in log
    for fold in range(2):
        result = fold_result(folder, fold)
        best = load(folder / f'run/fold{fold}/{result.checkpoint}')
        assert best['meta']['epoch'] == result.epoch
        validated = json.loads((folds / f'fold{fold}/val.json').read_text())['images']
        names = [image.img_id for image in read_records(result.records).images]
        assert sorted(names) == sorted(str(image['id']) for image in validated)
        last = load(folder / f'run/fold{fold}/epoch_2.pth')
        assert last['meta']['iter'] == 4


def hold_out_maps(folder, folds):
    """Prob maps of the hold-out films by the best model of each fold, one film after the other."""
    cfg = Config.fromfile(folder / 'run/fold0/config.py')
    images = json.loads((folds / 'test.json').read_text())['images']
    root = Path(cfg.test_dataloader.dataset.data_root) / 'images'
    maps = []
    for fold in range(2):
        weights = folder / f'run/fold{fold}/{fold_result(folder, fold).checkpoint}'
        inferencer = FracInferencer(cfg, weights, device='cpu', precision='fp32')
        inferencer(
            [str(root / image['file_name']) for image in images],
            out_dir=folder / f'maps{fold}',
            no_save_vis=True,
            save_maps=True,
        )
        files = [
            folder / f'maps{fold}/maps/{Path(image["file_name"]).stem}.npz' for image in images
        ]
        maps.append([np.load(file)['prob_map'].astype(np.float64) for file in files])
    return images, maps


def test_the_ensemble_is_the_hand_made_average(finished, folds):
    folder, _ = finished
    images, maps = hold_out_maps(folder, folds)
    boxes = {image['id']: [] for image in images}
    for annotation in json.loads((folds / 'test.json').read_text())['annotations']:
        x, y, w, h = annotation['bbox']
        boxes[annotation['image_id']].append([x, y, x + w, y + h])
    names = ['fold0', 'fold1', 'ensemble']
    by_hand = [*maps, [(one + two) / 2 for one, two in zip(*maps)]]
    summary = json.loads((folder / 'run/cross_validation.json').read_text())
    rows = {row['model']: row for row in summary['rows'] if row['split'] == 'hold-out'}
    for name, film_maps in zip(names, by_hand):
        content = json.loads((folder / f'run/holdout/{name}.json').read_text())
        results = {result.img_id: result for result in read_records(content).images}
        assert len(results) == len(images) == 6
        records = []
        for image, film_map in zip(images, film_maps):
            # films of 48 x 64 px fill 64 px of input: a cell of 4 input px is 4 film px
            record = froc.image_record(film_map, boxes[image['id']] or np.zeros((0, 4)), (4, 4))
            result = results[str(image['id'])]
            assert result.score == pytest.approx(record.image_score, abs=1e-6)
            records.append(record)
            assert (result.record is None) == (not image['regions'])
            if image['regions']:
                scores = record.lesion_scores
                assert result.record.lesion_scores == pytest.approx(scores, abs=1e-6)
        labels = [image['label'] for image in images]
        row = rows[name.replace('fold', 'fold ')]
        auroc = froc.auroc(labels, [record.image_score for record in records])
        assert row['metrics']['AUROC'] == pytest.approx(auroc)
        curve = froc.froc_curve(
            [record for record, image in zip(records, images) if image['regions']]
        )
        assert row['metrics']['FROC'] == pytest.approx(float(froc.froc_score(curve)))
        assert row['lesions'] == curve.num_lesions
    assert max(np.abs(one - two).max() for one, two in zip(*maps)) > 1e-4


def test_what_is_done_is_not_done_again(finished, folds):
    folder, output = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / 'run').rglob('*.pth')}
    reported: list[str] = []
    # no tool is there to train with
    tools = Tools(folder / 'no_tools')
    cfg = Config.fromfile(folder / 'tiny.py')
    result = cross_validate(cfg, folds, folder / 'run', tools, report=reported.append)
    epochs = [fold_result(folder, fold).epoch for fold in range(2)]
    assert reported == [f'fold {fold}: done, best epoch {epochs[fold]}' for fold in range(2)]
    assert before == {path: path.stat().st_mtime_ns for path in (folder / 'run').rglob('*.pth')}
    assert summary_table(result.summary) in output
    names = {path.name for path in (folder / 'run').glob('[!.]*') if path.is_file()}
    assert names == {
        'cross_validation.json',
        'cross_validation.csv',
        'froc_validation.png',
        'froc_holdout.png',
    }


def test_another_config_is_refused(finished, folds):
    folder, _ = finished
    cfg = Config.fromfile(folder / 'tiny.py')
    cfg.randomness.seed = 7
    with pytest.raises(ValueError, match='was made from another config'):
        cross_validate(cfg, folds, folder / 'run', Tools(folder / 'no_tools'))
    with pytest.raises(ValueError, match=r'no fold \[2\], it has 2'):
        cross_validate(cfg, folds, folder / 'new', Tools(folder / 'no_tools'), [1, 2])


def test_a_launcher_is_not_offered(monkeypatch, capsys):
    for arguments, words in (
        (['--help'], '--ranks RANKS'),
        (['a.py', 'folds', '--launcher', 'slurm'], 'unrecognized arguments: --launcher'),
    ):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments])
        with pytest.raises(SystemExit):
            runpy.run_path(str(TOOL), run_name='__main__')
        printed = capsys.readouterr()
        assert words in printed.out + printed.err and '--launcher' not in printed.out


@pytest.mark.parametrize(
    'name',
    ['fold0/training.json', 'fold1/result.json', 'holdout/status.json', 'holdout/fold1.json'],
)
@pytest.mark.parametrize('content', ['', '[]'])
def test_damaged_files_are_named(finished, folds, name, content):
    folder, _ = finished
    file = folder / 'run' / name
    whole = file.read_text()
    file.write_text(content)
    try:
        with pytest.raises(ValueError, match=name):
            cfg = Config.fromfile(folder / 'tiny.py')
            cross_validate(cfg, folds, folder / 'run', Tools(folder / 'no_tools'), report=str)
    finally:
        file.write_text(whole)
