# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The distributed tools with 1, 2 and 4 gloo ranks on the CPU; no film count here divides by them."""

import json
import math
import time

import pytest

from tests.tools.tiny_run import (
    DIST_TEST,
    DIST_TRAIN,
    TEST,
    TRAIN,
    killer,
    load,
    start,
    succeed,
    write_config,
)

# the first pass over P_pub, then one iteration that changes nothing
FIRST_MEDIAN = """
train_cfg['max_epochs'] = 1
train_dataloader['batch_sampler']['epoch_length'] = 1
model['semi_train_cfg']['burn_in_epochs'] = 0
optim_wrapper = dict(optimizer=dict(lr=0.0, weight_decay=0.0))
"""


@pytest.fixture(scope='module')
def trained(tiny_data, tmp_path_factory):
    """Work dir of burn-in and semi-supervised training with two ranks."""
    folder = tmp_path_factory.mktemp('two_ranks')
    config = write_config(folder, tiny_data)
    succeed(DIST_TRAIN, config, 2, '--work-dir', folder / 'run', cwd=folder)
    return folder / 'run'


def in_force(checkpoint):
    """m, t, a of every semi-supervised epoch, as they were logged when it began."""
    scalars = load(checkpoint)['message_hub']['log_scalars']
    return {name: scalars[f'train/{name}']['log_history'].tolist() for name in ('m', 't', 'a')}


def median(checkpoint):
    return load(checkpoint)['state_dict']['pseudo_pipeline.0.m'].item()


def test_two_ranks_train_burn_in_and_semi_supervised_epochs(trained):
    final = load(trained / 'epoch_2.pth')
    assert final['meta']['iter'] == 4 and final['meta']['epoch'] == 2
    assert math.isnan(median(trained / 'burn_in.pth'))
    assert 0 < median(trained / 'epoch_2.pth') < 1
    assert len(in_force(trained / 'epoch_2.pth')['m']) == 1
    assert 'loss_semi' in next(trained.glob('*/*.log')).read_text()


@pytest.mark.slow
def test_first_median_does_not_depend_on_the_number_of_ranks(trained, tiny_data, tmp_path):
    config = write_config(
        tmp_path, tiny_data, FIRST_MEDIAN, f'load_from = {str(trained / "burn_in.pth")!r}'
    )
    values = {}
    for ranks in (2, 4):
        work_dir = tmp_path / f'{ranks}_ranks'
        succeed(DIST_TRAIN, config, ranks, '--work-dir', work_dir, cwd=tmp_path)
        values[ranks] = in_force(work_dir / 'epoch_1.pth')
    succeed(TRAIN, config, '--work-dir', tmp_path / 'alone', cwd=tmp_path)
    alone = in_force(tmp_path / 'alone/epoch_1.pth')
    assert len(alone['m']) == 1 and 0 < alone['m'][0] < 1
    assert values[2] == values[4] == alone


def test_metrics_do_not_depend_on_the_number_of_ranks(trained, tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data)
    checkpoint = trained / 'epoch_2.pth'
    results = {}
    for ranks in (2, 4):
        out = tmp_path / f'{ranks}.json'
        succeed(DIST_TEST, config, checkpoint, ranks, '--out-json', out, cwd=tmp_path)
        results[ranks] = json.loads(out.read_text())
    succeed(TEST, config, checkpoint, '--out-json', tmp_path / '1.json', cwd=tmp_path)
    alone = json.loads((tmp_path / '1.json').read_text())
    assert alone['num_images'] == 5 and alone['num_lesions'] == 2
    assert results[2] == results[4] == alone


def test_a_killed_rank_ends_the_job(tiny_data, tmp_path):
    config = write_config(
        tmp_path, tiny_data, "train_cfg['max_epochs'] = 1000", killer(tmp_path, 1, 3)
    )
    began = time.monotonic()
    done = start(DIST_TRAIN, config, 2, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert done.returncode != 0
    assert 'SIGKILL' in done.stderr or 'exitcode  : -9' in done.stderr
    assert time.monotonic() - began < 120
    assert load(tmp_path / 'run/epoch_1.pth')['meta']['iter'] == 2
