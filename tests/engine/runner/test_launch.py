# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from torch.distributed import is_initialized

from mmfrac.engine.runner import launch
from mmfrac.engine.runner.launch import fill_device_options, finish_launch

# a rank with work for atexit, output that is still buffered, and an interpreter that would fail later
RANK = """
import atexit, sys
from torch import distributed
from mmfrac.engine.runner.launch import finish_launch

class Late:
    def __del__(self):
        print('the interpreter was torn down')

late = Late()
distributed.init_process_group(
    'gloo', store=distributed.FileStore(sys.argv[1], 1), rank=0, world_size=1
)
atexit.register(lambda: print('atexit ran'))
print('done')
finish_launch()
print('still here')
"""


@pytest.mark.slow
def test_a_distributed_run_ends_before_the_interpreter_is_torn_down(tmp_path, repository):
    done = subprocess.run(
        [sys.executable, '-c', RANK, str(tmp_path / 'store')],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['done', 'atexit ran']


def test_nothing_happens_without_a_launcher():
    assert not is_initialized()
    finish_launch()


@pytest.mark.parametrize('has_cuda', [False, True])
def test_the_machine_decides_what_a_config_leaves_open(has_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    cfg = Config(
        dict(
            train_dataloader=dict(num_workers=4),
            val_dataloader=dict(num_workers=2),
            test_dataloader=dict(num_workers=0, pin_memory=False),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=1.0)),
            model=dict(data_preprocessor=dict(data_preprocessor=dict(mean=[0.5]))),
        )
    )
    fill_device_options(cfg)
    pinned = dict(pin_memory=True) if has_cuda else {}
    assert cfg.train_dataloader == dict(num_workers=4, **pinned)
    assert cfg.val_dataloader == dict(num_workers=2, persistent_workers=True, **pinned)
    assert cfg.test_dataloader == dict(num_workers=0, pin_memory=False)
    assert cfg.optim_wrapper.optimizer.get('fused', False) is has_cuda
    preprocessor = cfg.model.data_preprocessor.data_preprocessor
    assert preprocessor.get('non_blocking', False) is has_cuda
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=1.0)
    fill_device_options(cfg)
    assert 'fused' not in cfg.optim_wrapper.optimizer


@pytest.mark.parametrize('given', [{}, dict(find_unused_parameters=True)])
def test_models_are_wrapped_as_mmengine_does(given, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(launch.distributed, 'is_initialized', lambda: True)
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '1')
    cfg = Config(dict(launcher='pytorch', **given))
    launch.prepare_launch(cfg)
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=bool(given),
        device_ids=None,
    )
    # one's own stays
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='Mine'), **given))
    launch.prepare_launch(cfg)
    assert cfg.model_wrapper_cfg == dict(type='Mine', device_ids=None)
