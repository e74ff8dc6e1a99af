# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A run that is killed and resumed ends bit for bit where the uninterrupted one ends."""

import math
import os
import signal

import pytest
import torch

from mmfrac.engine.runner.checkpoints import latest_checkpoint
from tests.slow import slow_but
from tests.tools.tiny_run import TRAIN, killer, load, start, succeed, write_config

# Two burn-in and two semi-supervised epochs of two iterations, with a learning rate that changes.
FOUR_EPOCHS = """
train_cfg['max_epochs'] = 4
model['semi_train_cfg']['burn_in_epochs'] = 2
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, by_epoch=False, end=8)]
"""
KILLED_AT = 7  # the second iteration of the last epoch
WORKERS = {
    0: '',
    1: 'train_dataloader.update(num_workers=1)',
}


def assert_equal(one, other, path=''):
    """Nested data of two checkpoints, tensors bit for bit."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_equal(one[key], other[key], f'{path}/{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, (left, right) in enumerate(zip(one, other)):
            assert_equal(left, right, f'{path}/{index}')
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), path
    else:
        assert one == other, path


@pytest.fixture(scope='module', params=slow_but(WORKERS, [1]))
def runs(request, tiny_data, tmp_path_factory):
    """Folders ``whole`` and ``killed`` of the same training; the second was killed in epoch 4."""
    folder = tmp_path_factory.mktemp('resume')
    settings = [FOUR_EPOCHS, WORKERS[request.param]]
    whole = write_config(folder / 'a', tiny_data, *settings)
    killed = write_config(folder / 'b', tiny_data, *settings, killer(folder, 0, KILLED_AT))
    succeed(TRAIN, whole, '--work-dir', folder / 'whole', cwd=folder)
    done = start(TRAIN, killed, '--work-dir', folder / 'killed', cwd=folder)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert not (folder / 'killed/epoch_4.pth').exists()
    # killed a moment later it would also have left this
    (folder / 'killed/last_checkpoint').write_text('')
    resumed = succeed(TRAIN, whole, '--work-dir', folder / 'killed', '--resume', cwd=folder)
    assert 'epoch: 3' in resumed.stdout
    return folder


def test_resumed_run_ends_where_the_whole_run_ends(runs):
    whole, resumed = (load(runs / name / 'epoch_4.pth') for name in ('whole', 'killed'))
    assert whole['meta']['iter'] == 8
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert whole[part], part
        assert_equal(whole[part], resumed[part], part)
    state = whole['state_dict']
    values = {name: state[f'pseudo_pipeline.0.{name}'].item() for name in ('m', 't', 'a')}
    assert not any(math.isnan(value) for value in values.values())
    scalars = [run['message_hub']['log_scalars'] for run in (whole, resumed)]
    for name in ('train/m', 'train/loss_sup', 'train/loss_semi', 'train/lr'):
        assert_equal(*(entry[name]['log_history'] for entry in scalars), name)


def test_epochs_differ_in_what_they_draw(runs):
    scalars = load(runs / 'whole/epoch_4.pth')['message_hub']['log_scalars']
    assert len(set(scalars['train/lr']['log_history'].tolist())) == 8
    assert len(set(scalars['train/loss_sup']['log_history'].tolist())) == 8


@pytest.mark.slow
def test_burn_in_can_be_shared_with_a_supervised_run(tiny_data, tmp_path):
    # validated, so that burn_in.pth names a best checkpoint
    settings = [FOUR_EPOCHS, "train_cfg['val_interval'] = 2"]
    semi = write_config(tmp_path / 'a', tiny_data, *settings)
    never_over = "model['semi_train_cfg']['burn_in_epochs'] = 4"
    sup = write_config(tmp_path / 'b', tiny_data, *settings, never_over)
    succeed(TRAIN, semi, '--work-dir', tmp_path / 'semi', cwd=tmp_path)
    best = list((tmp_path / 'semi').glob('best_*.pth'))
    succeed(TRAIN, sup, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
    burn_in = tmp_path / 'semi/burn_in.pth'
    succeed(TRAIN, sup, '--work-dir', tmp_path / 'shared', '--resume', burn_in, cwd=tmp_path)
    whole, shared = (load(tmp_path / name / 'epoch_4.pth') for name in ('whole', 'shared'))
    for run in (whole, shared):
        assert run['state_dict'].pop('pseudo_pipeline.0.m').isnan()
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(whole[part], shared[part], part)
    assert best and all(path.is_file() for path in best)
    assert list((tmp_path / 'shared').glob('best_*.pth'))


@pytest.mark.parametrize(
    'pointer, expected',
    [
        (None, 'epoch_10.pth'),
        ('', 'epoch_10.pth'),
        ('{folder}/epo', 'epoch_10.pth'),
        ('{folder}', 'epoch_10.pth'),
        ('{folder}/epoch_9.pth', 'epoch_9.pth'),
        ('/elsewhere/epoch_9.pth', 'epoch_9.pth'),
    ],
)
def test_latest_checkpoint(pointer, expected, tmp_path):
    for age, name in enumerate(('epoch_10.pth', 'epoch_9.pth', 'burn_in.pth')):
        (tmp_path / name).write_bytes(b'')
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    os.utime(tmp_path / 'burn_in.pth', (2000, 2000))
    (tmp_path / '.epoch_11.pth.5.tmp').write_bytes(b'half')
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer.format(folder=tmp_path))
    assert latest_checkpoint(tmp_path) == str(tmp_path / expected)


def test_there_may_be_nothing_to_resume(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / 'missing') is None
