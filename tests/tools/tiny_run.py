# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Starts the real tools on the smallest training there is."""

import os
import subprocess
from pathlib import Path

import torch

from tests.forking import python_for_tools

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = ROOT / 'tools/train.py', ROOT / 'tools/test.py'
DIST_TRAIN, DIST_TEST = ROOT / 'tools/dist_train.sh', ROOT / 'tools/dist_test.sh'
TIMEOUT = 240  # seconds: a run of these tests takes 10 s; whatever takes this long hangs

CONFIG = """
_base_ = {base!r}
from mmfrac.utils.config import set_data_root, set_img_scale

set_data_root(_base_, {data_root!r})
set_img_scale(_base_, (64, 64))
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs=2, val_interval=100)
train_dataloader = dict(batch_size=4, num_workers=0, batch_sampler=dict(epoch_length=2))
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)
model = dict(semi_train_cfg=dict(burn_in_epochs=1))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""

# a module that the config imports: SIGKILLs a rank in the middle of an epoch
KILLER = """
import os
import signal

from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook


@HOOKS.register_module()
class KillerHook(Hook):
    def __init__(self, rank, iteration):
        self.rank, self.iteration = rank, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == self.rank and runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)
"""
KILLER_CONFIG = """
custom_imports = dict(imports=['mmfrac', 'killer'])
custom_hooks = [*_base_.custom_hooks, dict(type='KillerHook', rank={rank}, iteration={iteration})]
"""


def write_config(
    folder: Path, data_root: Path, *changes: str, base: str = 'phantom/frac_ssl_phantom.py'
) -> Path:
    """A config file for 64 px, two iterations an epoch and burn-in of one epoch of two."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'tiny.py'
    text = CONFIG.format(base=str(ROOT / 'configs' / base), data_root=str(data_root))
    path.write_text('\n'.join([text, *changes]))
    return path


def killer(folder: Path, rank: int, iteration: int) -> str:
    """Config lines that make a rank kill itself before an iteration; writes their module."""
    (folder / 'killer.py').write_text(KILLER)
    return KILLER_CONFIG.format(rank=rank, iteration=iteration)


def launch(
    tool: Path, arguments, cwd: Path, python: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a tool: one thread, no GPU, no rank of whoever runs the tests."""
    python = python or python_for_tools()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT', 'MASTER_ADDR', 'PORT')
    }
    environment |= dict(
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
        PYTHON=python,
        PYTHON_EXEC=python,  # torchrun's name for it
        PYTHONPATH=os.pathsep.join([str(ROOT), str(cwd)]),
    )
    program = 'bash' if tool.suffix == '.sh' else python
    return [program, str(tool), *map(str, arguments)], environment


def start(tool: Path, *arguments, cwd: Path, **variables) -> subprocess.CompletedProcess:
    """Run a tool to its end; modules in ``cwd`` can be imported by its config."""
    command, environment = launch(tool, arguments, cwd)
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def succeed(tool: Path, *arguments, cwd: Path, **variables) -> subprocess.CompletedProcess:
    """Run a tool and require that it ends well."""
    done = start(tool, *arguments, cwd=cwd, **variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def load(path: Path) -> dict:
    """A checkpoint, with the protection of ``torch.load`` switched on."""
    return torch.load(path, map_location='cpu', weights_only=True)
