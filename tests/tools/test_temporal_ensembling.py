# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Two ranks with one film memory: killed, resumed, and equal to an uninterrupted run."""

import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmfrac.engine.runner.checkpoints import resume_training
from mmfrac.engine.runner.launch import finish_launch, prepare_launch
from tests.tools.test_resume import FOUR_EPOCHS, KILLED_AT, assert_equal
from tests.tools.tiny_run import ROOT, TIMEOUT, killer, load, write_config

METHOD = f"""
from mmfrac.utils.config import merge_config_file
merge_config_file(_base_, {str(ROOT / 'configs/_base_/methods/temporal_ensembling.py')!r})
model['semi_train_cfg']['burn_in_epochs'] = 1
"""


def train(config: Path, work_dir: Path, resume: bool = False) -> list[int]:
    """Exit codes of two ranks: processes as torchrun makes them, but forked, which saves the imports."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=train_rank, args=(config, work_dir, resume, rank, port))
        for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    wait([process.sentinel for process in ranks], TIMEOUT)
    if any(process.exitcode for process in ranks):
        for process in ranks:
            process.kill()
    for process in ranks:
        process.join(TIMEOUT)
    return [process.exitcode for process in ranks]


def train_rank(config: Path, work_dir: Path, resume: bool, rank: int, port: int) -> None:
    os.environ |= dict(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        CUDA_VISIBLE_DEVICES='',
    )
    sys.path.insert(0, str(config.parents[1]))  # where killer.py is
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.launcher = str(work_dir), 'pytorch'
    if resume:
        resume_training(cfg, 'auto')
    prepare_launch(cfg)
    Runner.from_cfg(cfg).train()
    finish_launch()


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_where_the_whole_run_ends(tiny_data, tmp_path):
    settings = [FOUR_EPOCHS, METHOD]
    whole = write_config(tmp_path / 'a', tiny_data, *settings)
    killed = write_config(tmp_path / 'b', tiny_data, *settings, killer(tmp_path, 1, KILLED_AT))
    assert train(whole, tmp_path / 'whole') == [0, 0]
    assert train(killed, tmp_path / 'killed')[1] == -signal.SIGKILL
    assert not (tmp_path / 'killed/epoch_4.pth').exists()
    # the epoch that was killed had begun to write
    assert (tmp_path / 'killed/temporal_ensemble/epoch_4.f16').is_file()
    assert train(whole, tmp_path / 'killed', resume=True) == [0, 0]
    ends = [load(tmp_path / name / 'epoch_4.pth') for name in ('whole', 'killed')]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(*(end[part] for end in ends), part)
    scalars = [end['message_hub']['log_scalars'] for end in ends]
    for name in ('train/loss_sup', 'train/loss_semi', 'train/semi_weight'):
        assert_equal(*(entry[name]['log_history'] for entry in scalars), name)
    weights = scalars[0]['train/semi_weight']['log_history']
    assert weights[:2].tolist() == [0, 0] and (weights[2:] > 0).all()

    state = ends[0]['state_dict']
    count = state['teacher.ensemble.count']
    # 8 places an epoch for the 5 films of P_pub: each was seen in all three epochs, some twice
    assert sorted(count.tolist()) == [0] * 10 + [3] * 5
    height, width = state['teacher.ensemble.map_shape'].tolist()
    memories = [
        np.fromfile(tmp_path / name / 'temporal_ensemble/epoch_4.f16', np.float16).reshape(
            15, height, width
        )
        for name in ('whole', 'killed')
    ]
    assert np.array_equal(*memories)
    assert torch.equal(torch.from_numpy(memories[0]).flatten(1).any(dim=1), count > 0)
