# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.fileio import load
from mmengine.registry import init_default_scope

from mmfrac.apis.model_zoo import MODELS_FOLDER, card, limits_of, model_table, read_model
from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.utils.config import load_config
from tests.forking import python_for_tools

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.name for path in MODELS_FOLDER.iterdir() if path.is_dir())


@pytest.fixture
def written(tmp_path):
    """Folder of a model that the tool made of an untrained checkpoint."""
    cfg = load_config('mmfrac::phantom/frac_ssl_phantom.py')
    init_default_scope('mmdet')
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkpoint)
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(
        json.dumps({'metrics': {'frac/AUROC': 0.91, 'frac/FROC': 0.5, 'frac/Recall@0.1': 0.25}})
    )
    scalars = tmp_path / 'run/20260101_000000/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"frac/AUROC": 0.75, "step": 1}\n{"loss": 2.0, "step": 2}\n')
    arguments = dict(
        config='mmfrac::phantom/frac_ssl_phantom.py',
        checkpoint=checkpoint,
        metrics=metrics,
        command='train it',
        data='phantoms',
        limits='Not for patients.',
    )
    command = [
        python_for_tools(),
        ROOT / 'tools/model_converters/publish_model.py',
        tmp_path / 'model',
    ]
    for name, value in arguments.items():
        command += [f'--{name}', value]
    command += ['--work-dir', tmp_path / 'run']
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return tmp_path / 'model'


def test_weights_card_and_table(written):
    model = read_model(written)
    weights = torch.load(model.weights, weights_only=True)['state_dict']
    assert not any(key.startswith('student.') for key in weights) and len(weights) > 20
    text = (written / 'README.md').read_text()
    for part in ('**Not for patients.**', '`train it`', model.about['sha256'], '| AUROC | 0.910 |'):
        assert part in text
    assert '| epoch | AUROC |' in text and '| 1 | 0.75 |' in text
    row = model_table(written.parent).splitlines()[-1]
    assert row == (
        '| [model](models/model/README.md) | phantoms | 0.910 | 0.500 | 0.250 | Not for patients. |'
    )


def test_weights_of_another_file_are_refused(written):
    weights = written / 'model.pth'
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r'model\.pth is not the file that .*model\.json tells of'):
        read_model(written)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match='no model in'):
        read_model(written)


def test_limits_are_those_of_the_file_whatever_it_is_called(tmp_path):
    model = read_model(MODELS_FOLDER / 'frac_ssl_phantom')
    own = tmp_path / 'own'
    own.mkdir()
    shutil.copy(model.weights, own / 'best.pth')
    assert limits_of(own / 'best.pth') == model.limits
    # weights of one's own beside a JSON of another kind, no JSON, or that of other weights
    (own / 'model.pth').write_bytes(b'own weights')
    for text in ('{"lr": 0.1}', '[1]', '{"lr":', '{"lr": 1, "lr": 2}', json.dumps(model.about)):
        (own / 'model.json').write_text(text)
        assert limits_of(own / 'model.pth') == limits_of(own / 'none.pth') == ''
    # published by another
    sha256 = hashlib.sha256(b'own weights').hexdigest()
    about = model.about | dict(sha256=sha256, limits='Adults only.')
    (own / 'model.json').write_text(json.dumps(about))
    assert limits_of(own / 'model.pth') == 'Adults only.'
    (own / 'other.pth').write_bytes(b'not weights')
    assert limits_of(own / 'other.pth') == ''


@pytest.mark.parametrize('name', NAMES)
def test_models_that_come_along(name):
    model = read_model(MODELS_FOLDER / name)
    assert model.weights.stat().st_size < 3e6
    assert (MODELS_FOLDER / name / 'README.md').read_text() == card(name, model.about)
    assert 'phantoms only' in model.limits


def test_published_table_is_that_of_the_models():
    assert model_table() in (ROOT / 'configs/README.md').read_text()


def test_figures_of_the_model_and_of_the_quickstart_are_one_everywhere():
    about = read_model(MODELS_FOLDER / 'frac_ssl_phantom').about
    values = [f'{about["metrics"][name]:.3f}' for name in ('AUROC', 'FROC', 'Recall@0.1')]
    assert f'| {" | ".join(values)} |' in (ROOT / 'configs/README.md').read_text()
    # that was trained before channels_last became the default
    quickstart = (ROOT / 'tools/README.md').read_text()
    assert ', '.join(values) in quickstart.replace('\n', ' ')
    rows = [
        row.partition(') ')[2]
        for row in (ROOT / 'README.md').read_text().splitlines()
        if row.startswith(('| burn-in (', '| semi-supervised ('))
    ]
    assert len(rows) == 2 and all(row in quickstart for row in rows)
    (entry,) = [
        entry
        for entry in load(ROOT / 'configs/metafile.yml')['Models']
        if entry['Name'] == 'frac_ssl_phantom'
    ]
    assert [f'{value:.3f}' for value in entry['Results'][0]['Metrics'].values()] == values
    assert (ROOT / entry['Weights']).is_file()


def test_configs_of_the_metafile_are_there():
    for entry in load(ROOT / 'configs/metafile.yml')['Models']:
        assert (ROOT / entry['Config']).is_file()
    index = load(ROOT / 'mmfrac/.mim/model-index.yml')
    assert all((ROOT / 'mmfrac/.mim' / name).is_file() for name in index['Import'])


def test_weights_that_come_along_are_found_by_name_and_say_their_limits():
    name = 'mmfrac::models/frac_ssl_phantom/model.pth'
    model = read_model(MODELS_FOLDER / 'frac_ssl_phantom')
    weights = load_checkpoint_file(model.weights)['state_dict']
    found = load_checkpoint_file(name)['state_dict']
    assert found.keys() == weights.keys()
    assert limits_of(name) == limits_of(model.weights) == model.limits != ''
    assert limits_of(ROOT / 'setup.py') == ''
    # as tools/README.md says of it
    assert 'model.detector.channels_last=False' in model.about['command']
    text = (MODELS_FOLDER / 'frac_ssl_phantom/README.md').read_text()
    assert text == card('frac_ssl_phantom', model.about)
    with pytest.raises(FileNotFoundError, match=r'frac_ssl_phantom/model\.pth'):
        load_checkpoint_file('mmfrac::models/nothing.pth')
    with pytest.raises(FileNotFoundError, match='brings no file'):
        load_checkpoint_file('mmfrac::../version.py')
