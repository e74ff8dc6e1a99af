# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From tools/test.py --out, on two ranks, to tools/analysis_tools/froc.py."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.engine.runner.ensemble import weights_sha256
from mmfrac.evaluation.offline.map_folder import MapFolder, read_prediction
from tests.tools.tiny_run import DIST_TEST, ROOT, TEST, start, succeed, write_config

FROC = ROOT / 'tools/analysis_tools/froc.py'


@pytest.fixture(scope='module')
def tested(tiny_data, tmp_path_factory):
    """Folder with an untrained model's metrics and predictions; five films do not divide by two."""
    folder = tmp_path_factory.mktemp('tested')
    config = write_config(folder, tiny_data)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    arguments = [config, folder / 'model.pth']
    saved = ['--out', folder / 'ours', '--out-json', folder / 'metrics.json']
    succeed(DIST_TEST, *arguments, 2, '--work-dir', folder / 'run', *saved, cwd=folder)
    return folder


def froc(tiny_data, folder, *arguments, **options):
    annotations = tiny_data / 'annotations/test.json'
    command = [annotations, *arguments, '--out', folder / 'report', '--replicates', 50]
    return start(FROC, *command, cwd=folder, **options)


def test_every_rank_writes_its_films(tested):
    films = dict(MapFolder(tested / 'ours').images())
    assert len(films) == 5
    run = json.loads((tested / 'ours/run.json').read_text())
    assert run['num_films'] == 5 and run['checkpoint'].endswith('model.pth')
    assert run['weights'] == weights_sha256(torch.load(tested / 'model.pth', weights_only=True))
    assert 'ProbMapDetector' in run['config_text'] and run['versions']['torch']
    for path, film in films.items():
        prediction = read_prediction(path, film)
        assert prediction.prob_map.dtype == np.float32
        assert prediction.prob_map.shape == (16, 12) and prediction.map_scale == (4, 4)
        assert prediction.score == prediction.prob_map.max()
    assert not list(tested.glob('.*partial*'))


def test_offline_equals_the_evaluation(tested, tiny_data):
    done = froc(tiny_data, tested, f'ours={tested / "ours"}', '--data-root', tiny_data)
    assert done.returncode == 0, done.stderr[-3000:]
    online = json.loads((tested / 'metrics.json').read_text())
    offline = json.loads((tested / 'report/froc.json').read_text())
    metrics = {name: e['value'] for name, e in offline['models']['ours']['metrics'].items()}
    for name, value in online['metrics'].items():
        assert metrics[name] == pytest.approx(value, abs=1e-12), name
    assert offline['models']['ours']['num_films'] == 5
    assert '5/5' in done.stderr  # progress
    assert 'definitions: source auto' in done.stdout
    page = (tested / 'report/report.html').read_text()
    assert page.count('data:image/jpeg') == 7  # five films with false positives, two with lesions
    assert f'written: {tested / "report/report.html"}' in done.stdout


def test_what_is_wrong_is_said_at_once(tested, tiny_data, tmp_path):
    (tmp_path / 'r.json').write_text('[{"image_id": 77, "category_id": 1}]')
    done = froc(tiny_data, tmp_path, f'boxes={tmp_path / "r.json"}')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert "r.json[0]: no 'bbox'" in done.stderr
    assert not (tmp_path / 'report').exists()


def test_a_package_takes_what_is_chosen_on_validation_films(tiny_data, tmp_path):
    # before the predictions are looked for
    done = froc(tiny_data, tmp_path, 'ours=nowhere', '--package', 'model.mmfrac')
    assert done.returncode == 1 and not (tmp_path / 'report').exists()
    assert 'validation images: name them with --val' in done.stderr


def test_groups_that_no_film_has_and_thresholds_of_another_model(tested, tiny_data, tmp_path):
    done = froc(tiny_data, tmp_path, f'ours={tested / "ours"}', '--groups', 'sexx')
    assert done.returncode == 1 and "no film has 'sexx'; their fields are" in done.stderr
    shutil.copytree(tested / 'ours', tmp_path / 'val')
    run = json.loads((tmp_path / 'val/run.json').read_text())
    (tmp_path / 'val/run.json').write_text(json.dumps(dict(run, checkpoint='b/other.pth')))
    truth = tiny_data / 'annotations/test.json'
    val = ['--val', truth, f'ours={tmp_path / "val"}']
    done = froc(tiny_data, tmp_path, f'ours={tested / "ours"}', *val)
    assert done.returncode == 1 and "validation predictions of 'b/other.pth'" in done.stderr
    # where both are there, their contents count
    for content, is_same in ((b'other', False), ((tested / 'model.pth').read_bytes(), True)):
        (tmp_path / 'copy.pth').write_bytes(content)
        told = json.dumps(dict(run, checkpoint=str(tmp_path / 'copy.pth')))
        (tmp_path / 'val/run.json').write_text(told)
        done = froc(tiny_data, tmp_path, f'ours={tested / "ours"}', *val)
        assert done.returncode == 1
        assert ('validation predictions of' in done.stderr) != is_same, done.stderr
    val[-1] = f'ours={tested / "ours"}'
    done = froc(tiny_data, tmp_path, f'ours={tested / "ours"}', *val)
    assert done.returncode == 1 and '5 of 5 validation images are among the test' in done.stderr
    assert not (tmp_path / 'report').exists()


def test_pickle_as_in_mmdet(tested, tmp_path):
    config, checkpoint = tested / 'tiny.py', tested / 'model.pth'
    succeed(TEST, config, checkpoint, '--out', tmp_path / 'found.pkl', cwd=tmp_path)
    with (tmp_path / 'found.pkl').open('rb') as file:
        assert len(pickle.load(file)) == 5
