# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The command mmfrac, from the package as pip installs it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

from mmfrac.__main__ import COMMANDS, TOOLS, script, usage
from mmfrac.utils.config import load_config
from mmfrac.utils.packaged import config_path

ROOT = Path(__file__).resolve().parents[1]


def test_every_command_has_a_script_and_is_in_the_help():
    for name, (file, _) in COMMANDS.items():
        assert (TOOLS / file).exists(), name
        assert f'  {name} ' in usage()
    assert script('convert', ['plain-csv', 'a', 'b']) == (
        TOOLS / 'dataset_converters/plain_csv.py',
        'mmfrac convert plain-csv',
        ['a', 'b'],
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('trian', []), "no command 'trian'; did you mean 'train'"),
        (('xyzzy', []), "no command 'xyzzy' "),
        (('convert', []), 'KIND one of: chestx-det'),
        (('convert', ['../train']), 'KIND one of: chestx-det'),
    ],
)
def test_unknown_commands_are_refused(arguments, message):
    with pytest.raises(SystemExit, match=message.replace('(', r'\(')):
        script(*arguments)


class TestConfigsOfThePackage:
    def test_by_name(self):
        path = config_path('mmfrac::phantom/frac_ssl_phantom.py')
        assert Path(path).resolve() == ROOT / 'configs/phantom/frac_ssl_phantom.py'
        assert load_config('mmfrac::frac_ssl.py').model.type == 'SemiProbMapDetector'
        assert config_path('configs/frac_ssl.py') == 'configs/frac_ssl.py'

    def test_as_base(self, tmp_path):
        file = tmp_path / 'mine.py'
        file.write_text("_base_ = 'mmfrac::frac_ssl.py'\ntrain_cfg = dict(max_epochs=3)\n")
        cfg = Config.fromfile(file)
        wanted = Config.fromfile(ROOT / 'configs/frac_ssl.py')
        assert cfg.train_cfg.max_epochs == 3
        assert cfg.model == wanted.model and cfg.train_dataloader == wanted.train_dataloader

    def test_as_file_of_changes(self, tmp_path):
        file = tmp_path / 'mine.py'
        file.write_text(
            "_base_ = 'mmfrac::frac_ssl.py'\n"
            'from mmfrac.utils.config import merge_config_file\n'
            "merge_config_file(_base_, 'mmfrac::_base_/methods/mean_teacher.py')\n"
        )
        wanted = load_config(ROOT / 'configs/baselines/mean_teacher.py')
        assert Config.fromfile(file).model == wanted.model

    @pytest.mark.parametrize('name', ['frac_sll.py', '../setup.py', '/etc/passwd', 'phantom', ''])
    def test_what_is_not_there_is_named_with_what_is(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match=r'no config .*perhaps one of .*mmfrac::'):
            config_path(f'mmfrac::{name}')
        file = tmp_path / 'mine.py'
        file.write_text(f"_base_ = 'mmfrac::{name}'\n")
        with pytest.raises(FileNotFoundError, match=r'no config .*perhaps one of .*mmfrac::'):
            load_config(file)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Run the command as it is after pip install, in an empty folder."""
    folder = tmp_path_factory.mktemp('installed')
    source = folder / 'source'
    for name in ('mmfrac', 'configs', 'tools', 'requirements', 'setup.py', 'README.md'):
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '*.xz')
            shutil.copytree(path, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(path, source / name)
    build = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w']
    subprocess.run([*build, folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob('*.whl')
    site = folder / 'site'
    zipfile.ZipFile(wheel).extractall(site)
    empty = folder / 'empty'
    empty.mkdir()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, '-m', 'mmfrac', *map(str, arguments)],
            cwd=empty,
            env=os.environ | {'PYTHONPATH': str(site)},
            capture_output=True,
            text=True,
        )

    run.folder, run.site, run.size = empty, site, wheel.stat().st_size
    return run


def test_package_brings_configs_tools_and_the_command(installed):
    assert (installed.site / 'mmfrac/.mim/configs/frac_ssl.py').is_file()
    assert (installed.site / 'mmfrac/.mim/tools/dist_train.sh').is_file()
    assert (installed.site / 'mmfrac/.mim/model-index.yml').is_file()
    assert not list(installed.site.rglob('*.xz'))
    (entry,) = installed.site.glob('mmfrac-*.dist-info/entry_points.txt')
    assert 'mmfrac = mmfrac.__main__:main' in entry.read_text()
    assert installed.size < 6e6


def test_demo_marks_three_phantoms(installed):
    run = installed('demo', '--out-dir', 'found')
    assert run.returncode == 0, run.stderr
    assert run.stdout.count('score') == 3 and 'phantoms only' in run.stdout
    content = json.loads((installed.folder / 'found/demo.json').read_text())
    assert 'phantoms only' in content['limits']
    first, second, third = content['predictions']
    assert min(first['score'], second['score']) > 0.5 > third['score']
    assert (installed.folder / 'found/demo.png').stat().st_size > 10_000


@pytest.mark.slow
def test_from_phantoms_to_findings(installed):
    folder = installed.folder
    counts = ('--train', 8, 8, 8, 8, '--val', 3, 3, '--test', 3, 3)
    run = installed('phantom', 'data', '--size', 64, *counts)
    assert run.returncode == 0, run.stderr
    (folder / 'mine.py').write_text(
        "_base_ = 'mmfrac::phantom/frac_ssl_phantom.py'\n"
        'model = dict(semi_train_cfg=dict(burn_in_epochs=1))\n'
        'train_cfg = dict(max_epochs=2)\n'
        'train_dataloader = dict(num_workers=0, persistent_workers=False)\n'
    )
    run = installed('train', 'mine.py', '--data-root', 'data', '--work-dir', 'run')
    assert run.returncode == 0, run.stderr
    run = installed(
        *('infer', 'data/images', '--config', 'mine.py', '--checkpoint', 'run/epoch_2.pth'),
        *('--out-dir', 'infer', '--no-overlays'),
    )
    assert run.returncode == 0, run.stderr
    predictions = json.loads((folder / 'infer/predictions.json').read_text())['predictions']
    assert len(predictions) == 44


@pytest.mark.slow
def test_help_names_the_command_as_it_was_called(installed):
    run = installed('split', '--help')
    assert run.returncode == 1
    run = installed('folds', '--help')
    assert run.returncode == 0 and run.stdout.startswith('usage: mmfrac folds')
    run = installed('--version')
    assert run.stdout.startswith('mmfrac ')
