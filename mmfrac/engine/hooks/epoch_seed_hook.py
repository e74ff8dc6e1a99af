# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import random
import warnings
from functools import partial

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds all random generators anew for every training epoch.

    The random numbers of an epoch depend on seed, epoch and rank alone, so a resumed run draws what
    the uninterrupted one would have drawn. It runs after the other hooks of the epoch's beginning.
    Workers are seeded when they start, by ``seed_worker`` where the config names no function for it:
    with ``persistent_workers=True`` a resumed run draws other numbers, of which the log warns.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Have workers seeded anew in every epoch, and warn of those that outlive one."""
        loader = runner.train_dataloader
        seeding = getattr(loader, 'worker_init_fn', None)
        if getattr(loader, 'persistent_workers', False):
            runner.logger.warning(
                'persistent_workers=True: a resumed run will not repeat the random numbers of an '
                'uninterrupted one; set it to False in train_dataloader if it should'
            )
        elif isinstance(seeding, partial) and seeding.func is worker_init_fn:
            # mmengine's own, which the runner takes by itself
            is_quiet = seeding.keywords.get('disable_subprocess_warning', False)
            loader.worker_init_fn = partial(seed_worker, disable_subprocess_warning=is_quiet)

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed ``random``, numpy and torch."""
        sequence = np.random.SeedSequence([runner.seed or 0, runner.epoch, get_rank()])
        seed = int(sequence.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int, disable_subprocess_warning: bool = False) -> None:
    """Seed a data-loading worker from the epoch's seed.

    mmengine's own worker seed is the same in every epoch, which would repeat the augmentation of the
    first one. Torch derives ``initial_seed`` of a worker from the main process's generator.

    Args:
        worker_id (int): Counted from 0.
        disable_subprocess_warning (bool): Whether all workers but the first give no Python warnings.
            Defaults to False.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    if disable_subprocess_warning and worker_id != 0:
        warnings.simplefilter('ignore')
