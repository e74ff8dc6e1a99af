# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/train.py, tools/test.py: bad input gives one clear message; --help of every tool."""

import json
import shutil

import pytest

from tests.slow import slow_but
from tests.tools.tiny_run import ROOT, TEST, TRAIN, load, start, succeed, write_config

TOOLS = sorted(
    path for path in (ROOT / 'tools').rglob('*.py') if path.parent.name not in ('benchmarks', 'lib')
)


@pytest.fixture(scope='module')
def trained(tiny_data, tmp_path_factory):
    """Checkpoint of one supervised and one semi-supervised epoch."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder, tiny_data)
    succeed(TRAIN, config, '--work-dir', folder / 'run', cwd=folder)
    return folder / 'run/epoch_2.pth'


@pytest.fixture
def broken_data(tiny_data, tmp_path):
    """A copy of the data set, to be broken."""
    return shutil.copytree(tiny_data, tmp_path / 'broken')


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def says(done, error, *words):
    """The tool left with exit code 1 and one message, without a traceback."""
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    assert 'Traceback' not in done.stderr
    assert done.stderr.count('Error: ') == 1 and f'{error}: ' in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_missing_config(tmp_path):
    done = start(TRAIN, 'configs/none.py', cwd=tmp_path)
    says(done, 'FileNotFoundError', 'configs/none.py')


def test_missing_data_root(tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data)
    done = start(TRAIN, config, '--data-root', tmp_path / 'nowhere', cwd=tmp_path)
    says(done, 'FileNotFoundError', str(tmp_path / 'nowhere'))


def test_wrong_annotations(broken_data, tmp_path):
    def change(content):
        content['images'][0]['label'] = 7
        del content['images'][4]['width']
        content['annotations'][1]['bbox'] = [40, 10, 30, 12]

    change_json(broken_data / 'annotations/train.json', change)
    done = start(TRAIN, write_config(tmp_path, broken_data), cwd=tmp_path)
    says(
        done,
        'AnnotationError',
        'unknown label 7',
        "'width'",
        'lies outside its film',
        'train_0.png',
        'train_4.png',
        'train_1.png',
    )


@pytest.mark.parametrize('workers', slow_but([0, 1], [1]))
def test_truncated_dicom(workers, trained, broken_data, tmp_path):
    (broken_data / 'images/cut.dcm').write_bytes(b'\0' * 128 + b'DICM' + b'\x02\0\0\0UL')
    change_json(
        broken_data / 'annotations/test.json',
        lambda content: content['images'][1].update(file_name='cut.dcm'),
    )
    config = write_config(tmp_path, broken_data, f"test_dataloader['num_workers'] = {workers}")
    done = start(TEST, config, trained, cwd=tmp_path)
    says(done, 'RadiographError', 'cut.dcm')


def test_checkpoint_of_another_model(trained, tiny_data, tmp_path):
    wider = (
        "model['detector'] = dict(neck=dict(out_channels=16), prob_map_head=dict(in_channels=16))"
    )
    config = write_config(tmp_path, tiny_data, wider)
    done = start(TEST, config, trained, cwd=tmp_path)
    says(done, 'ValueError', str(trained), 'checkpoint of another model', 'neck')


def test_missing_checkpoint(tiny_data, tmp_path):
    done = start(TEST, write_config(tmp_path, tiny_data), 'none.pth', cwd=tmp_path)
    says(done, 'FileNotFoundError', 'none.pth')


def test_traceback_on_request(tmp_path):
    done = start(TRAIN, 'configs/none.py', cwd=tmp_path, MMFRAC_TRACEBACK='1')
    assert done.returncode == 1 and 'Traceback' in done.stderr


def test_resume_without_a_checkpoint_keeps_load_from(trained, tiny_data, tmp_path):
    frozen = 'optim_wrapper = dict(optimizer=dict(lr=0.0, weight_decay=0.0))\nparam_scheduler = []'
    config = write_config(tmp_path, tiny_data, frozen, f'load_from = {str(trained)!r}')
    succeed(TRAIN, config, '--work-dir', tmp_path / 'run', '--resume', cwd=tmp_path)
    name = 'student.backbone.conv1.weight'
    before, after = (
        load(path)['state_dict'][name] for path in (trained, tmp_path / 'run/epoch_2.pth')
    )
    assert before.equal(after)


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_help_has_an_example(tool, tmp_path):
    done = succeed(tool, '--help', cwd=tmp_path)
    assert f'python tools/{tool.relative_to(ROOT / "tools")}' in done.stdout
