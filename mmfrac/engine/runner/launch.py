# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import atexit
import datetime
import os
import subprocess
import sys

import torch
from mmengine.config import Config
from torch import distributed


def prepare_launch(cfg: Config) -> None:
    """Make a distributed launch work on machines without an accelerator.

    mmengine's own start-up calls ``torch.cuda.set_device`` and hands ``device_ids`` to DDP, both of
    which fail there. Without CUDA the process group is started here, with gloo, and the model is
    wrapped without device ids. With CUDA, or without a launcher, nothing is changed.

    Args:
        cfg (Config): With ``launcher`` set; ``model_wrapper_cfg`` is set where needed.

    Raises:
        ValueError: When the launcher's environment variables are missing, or the config wants
            synchronised BN, which only GPUs can run.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or torch.cuda.is_available():
        return
    if cfg.get('sync_bn'):
        raise ValueError(
            f'sync_bn={cfg.sync_bn!r} needs GPUs: PyTorch cannot train SyncBatchNorm on a CPU; leave '
            'sync_bn out of the config, or say --cfg-options sync_bn=None'
        )
    if launcher == 'slurm':
        os.environ.setdefault('RANK', os.environ.get('SLURM_PROCID', ''))
        os.environ.setdefault('WORLD_SIZE', os.environ.get('SLURM_NTASKS', ''))
        os.environ.setdefault('MASTER_PORT', '29500')
        nodes = os.environ.get('SLURM_NODELIST', '')
        if nodes and not os.environ.get('MASTER_ADDR'):
            names = subprocess.run(
                ['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True
            )
            os.environ['MASTER_ADDR'] = names.stdout.split()[0]
    missing = [
        name
        for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
        if not os.environ.get(name)
    ]
    if missing:
        raise ValueError(
            f'--launcher {launcher} needs the environment variables {missing}; start with '
            'tools/dist_train.sh, tools/dist_test.sh or tools/slurm_train.sh'
        )
    if not distributed.is_initialized():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        distributed.init_process_group('gloo', timeout=datetime.timedelta(seconds=timeout))
    if cfg.get('model_wrapper_cfg') is None:
        # as mmengine wraps where it wraps by itself
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    cfg.model_wrapper_cfg.update(device_ids=None)


def fill_device_options(cfg: Config) -> None:
    """Set what a config leaves open and the machine decides, in place.

    Data loaders that validate or test keep their workers from epoch to epoch; those that train start
    them anew, which gives a resumed run the random numbers of an uninterrupted one. With CUDA batches
    come in pinned memory, whose copy to the device nobody waits for, and Adam updates all weights in
    one kernel.

    Args:
        cfg (Config): Options that it has stay as they are.
    """
    has_cuda = torch.cuda.is_available()
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if not loader:
            continue
        if part != 'train' and loader.get('num_workers'):
            loader.setdefault('persistent_workers', True)
        if has_cuda:
            loader.setdefault('pin_memory', True)
    preprocessor = cfg.get('model', {}).get('data_preprocessor') or {}
    # that of one branch where there are several
    preprocessor = preprocessor.get('data_preprocessor', preprocessor)
    if has_cuda and preprocessor:
        preprocessor.setdefault('non_blocking', True)
    optimizer = cfg.get('optim_wrapper', {}).get('optimizer', {})
    # torch takes one of them
    if has_cuda and optimizer.get('type') in ('Adam', 'AdamW') and 'foreach' not in optimizer:
        optimizer.setdefault('fused', True)


# of each launcher the variable that holds a process's rank
_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def is_first_rank(launcher: str) -> bool:
    """Whether this process is the first of its launch, known before anything is set up.

    Args:
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    return launcher not in _RANKS or os.environ.get(_RANKS[launcher], '0') == '0'


def finish_launch() -> None:
    """End a distributed run that went well; nothing without a launcher.

    The ranks leave together: one whose connections are closed while it still does its own clearing up is
    aborted by gloo, and the whole job fails after its work is done. Then the process ends at once, with
    exit code 0: threads of gloo outlive the process group as long as a wrapped model refers to it, and
    one that asks for Python's lock while the interpreter is being torn down aborts the process. What is
    registered with ``atexit`` runs before, and the output streams are flushed.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    distributed.barrier()
    distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
