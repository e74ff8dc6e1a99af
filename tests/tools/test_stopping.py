# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A training that is told to end, with real processes and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmfrac.engine.runner.checkpoints import latest_checkpoint
from tests.tools.tiny_run import DIST_TRAIN, ROOT, TRAIN, launch, load, succeed, write_config

# a module that the config imports: it says that an iteration begins, and makes each take a while
SLOW = """
import os
import pathlib
import time

from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook


@HOOKS.register_module()
class SlowHook(Hook):
    def __init__(self, folder, seconds):
        self.folder, self.seconds = pathlib.Path(folder), seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (self.folder / f'rank_{get_rank()}').write_text(str(os.getpid()))
        (self.folder / f'iter_{runner.iter}').touch()
        time.sleep(float(os.environ.get('SLOW', self.seconds)))
"""
SLOW_CONFIG = """
custom_imports = dict(imports=['mmfrac', 'slow'])
custom_hooks = [*_base_.custom_hooks, dict(type='SlowHook', folder={folder!r}, seconds=0)]
train_cfg['max_epochs'] = 4
train_cfg['val_interval'] = 1
model['semi_train_cfg']['burn_in_epochs'] = 2
train_dataloader.update(num_workers=1)
"""


def slow_config(folder, tiny_data):
    folder.mkdir(exist_ok=True)
    (folder / 'slow.py').write_text(SLOW)
    return write_config(folder, tiny_data, SLOW_CONFIG.format(folder=str(folder)))


def begin(tool, *arguments, cwd, **variables):
    # signals, parents and process ids are what is tested
    command, environment = launch(tool, arguments, cwd, sys.executable)
    with open(cwd / 'out.txt', 'a') as out:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=environment | variables,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(path, process, seconds=400):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, (
            path.parent / 'out.txt'
        ).read_text()
        time.sleep(0.02)


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def assert_gone(pids, seconds=120):
    end = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_alive, pids))


@pytest.fixture(scope='module')
def whole(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    config = slow_config(folder, tiny_data)
    succeed(TRAIN, config, '--work-dir', folder / 'run', cwd=folder)
    return load(folder / 'run/epoch_4.pth')


@pytest.mark.parametrize(
    'signum, iteration, seconds, found',
    [
        # the epoch is nearly over, and finished
        pytest.param(signal.SIGTERM, 3, '60', 'epoch_2.pth', marks=pytest.mark.slow),
        # it is not, and what it did is lost
        pytest.param(signal.SIGUSR1, 4, '0', 'epoch_2.pth', marks=pytest.mark.slow),
        # nothing is there to go on from
        pytest.param(signal.SIGTERM, 0, '0', None, marks=pytest.mark.slow),
    ],
)
def test_what_was_ended_goes_on(signum, iteration, seconds, found, tiny_data, tmp_path, whole):
    config, work_dir = slow_config(tmp_path, tiny_data), tmp_path / 'run'
    options = dict(cwd=tmp_path, SLOW='1', MMFRAC_STOP_SECONDS=seconds)
    process = begin(TRAIN, config, '--work-dir', work_dir, **options)
    wait_for(tmp_path / f'iter_{iteration}', process)
    # as timeout and job managers do: its loader's workers, too
    os.killpg(process.pid, signum)
    assert process.wait(240) == 128 + signum
    said = (tmp_path / 'out.txt').read_text()
    assert f'ended by {signum.name}: the same command with --resume' in said
    assert 'Traceback' not in said
    latest = latest_checkpoint(work_dir)
    assert (latest and Path(latest).name) == found
    assert (f'goes on from {latest}' if found else 'starts anew') in said
    succeed(TRAIN, config, '--work-dir', work_dir, '--resume', cwd=tmp_path)
    resumed = load(work_dir / 'epoch_4.pth')
    for name, value in whole['state_dict'].items():
        assert torch.equal(value.nan_to_num(), resumed['state_dict'][name].nan_to_num()), name
    assert not list(work_dir.rglob('*.tmp'))
    assert validated(work_dir) == [1, 2, 3, 4]


def validated(work_dir):
    """Epochs that the log has validated, in its order."""
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [line['step'] for line in lines if 'frac/AUROC' in line]


@pytest.mark.slow
def test_an_epoch_that_was_validated_is_logged_once(tiny_data, tmp_path, whole):
    config, work_dir = slow_config(tmp_path, tiny_data), tmp_path / 'run'
    process = begin(TRAIN, config, '--work-dir', work_dir, cwd=tmp_path, SLOW='0.5')
    wait_for(tmp_path / 'iter_4', process)
    process.kill()
    process.wait(240)
    left = work_dir / '.epoch_3.pth.tmp'
    left.touch()
    # of the one that was killed, and of one that lives
    from mmfrac.utils.io import _temporary

    dead = work_dir / _temporary(work_dir / 'x').name.replace(
        f'{os.getpid():07x}', f'{process.pid:07x}'
    )
    alive = _temporary(work_dir / 'y')
    dead.touch()
    alive.touch()
    assert validated(work_dir) == [1, 2]
    succeed(TRAIN, config, '--work-dir', work_dir, '--resume', cwd=tmp_path)
    assert validated(work_dir) == [1, 2, 3, 4]
    assert left.exists() and alive.exists() and not dead.exists()
    best = [load(path) for path in work_dir.glob('best_*.pth')]
    assert len(best) == 1
    hub = load(work_dir / 'epoch_4.pth')['message_hub']['runtime_info']
    assert hub.get('best_score') == whole['message_hub']['runtime_info'].get('best_score')


@pytest.mark.slow
@pytest.mark.parametrize('signum', [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_ranks_do_not_outlive_their_launcher(signum, tiny_data, tmp_path):
    config = slow_config(tmp_path, tiny_data)
    options = dict(cwd=tmp_path, SLOW='1', MMFRAC_STOP_SECONDS='0')
    process = begin(DIST_TRAIN, config, 2, '--work-dir', tmp_path / 'run', **options)
    wait_for(tmp_path / 'iter_2', process)
    ranks = [int((tmp_path / f'rank_{rank}').read_text()) for rank in (0, 1)]
    assert all(map(is_alive, ranks))
    process.send_signal(signum)
    assert process.wait(240) != 0
    assert_gone(ranks)
    assert latest_checkpoint(tmp_path / 'run').endswith('epoch_1.pth')


@pytest.mark.slow
def test_a_second_training_in_a_work_dir_ends_with_all_its_ranks(tiny_data, tmp_path):
    config, work_dir = slow_config(tmp_path, tiny_data), tmp_path / 'run'
    first = begin(TRAIN, config, '--work-dir', work_dir, cwd=tmp_path, SLOW='600')
    try:
        wait_for(tmp_path / 'iter_0', first)
        before = sorted(work_dir.rglob('*'))
        for tool, count in ((TRAIN, ()), (DIST_TRAIN, (2,))):
            other = tmp_path / tool.stem
            other.mkdir()
            path = os.pathsep.join([str(ROOT), str(tmp_path)])
            second = begin(tool, config, *count, '--work-dir', work_dir, cwd=other, PYTHONPATH=path)
            assert second.wait(400) == 1
            said = (other / 'out.txt').read_text()
            assert f'another process works in {work_dir}: wait for it' in said
            assert sorted(work_dir.rglob('*')) == before
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()


@pytest.mark.slow
def test_a_wrong_number_of_seconds_is_said_before_anything_else(tiny_data, tmp_path):
    config = slow_config(tmp_path, tiny_data)
    for text in ('soon', '-1', 'nan', 'inf'):
        process = begin(TRAIN, config, '--work-dir', 'run', cwd=tmp_path, MMFRAC_STOP_SECONDS=text)
        assert process.wait(240) == 1 and not (tmp_path / 'run').exists()
    assert "MMFRAC_STOP_SECONDS is 'soon'" in (tmp_path / 'out.txt').read_text()
