# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmfrac.engine import EpochSeedHook, seed_worker


def draw(seed, epoch):
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_random_numbers_depend_on_seed_and_epoch_alone():
    first = draw(1, 5)
    np.random.rand(100)
    assert draw(1, 5) == first
    assert len({draw(1, 5), draw(1, 6), draw(2, 5)}) == 3


class Draws:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.random.rand(), random.random()


def from_workers(epoch):
    draw(0, epoch)
    loader = DataLoader(Draws(), num_workers=2, worker_init_fn=seed_worker, collate_fn=tuple)
    return [pair for batch in loader for pair in batch]


def test_workers_draw_anew_in_every_epoch():
    assert from_workers(1) == from_workers(1)
    numbers = [value for epoch in (1, 2) for pair in from_workers(epoch) for value in pair]
    assert len(set(numbers)) == len(numbers)


def numbers_of_epochs(epochs, **options):
    """What the workers of a loader draw, which the runner builds of a config of one's own."""
    cfg = dict(
        dataset=Draws(),
        batch_size=2,
        num_workers=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=tuple,
        **options,
    )
    loader = Runner.build_dataloader(cfg, seed=0)
    EpochSeedHook().before_train(SimpleNamespace(train_dataloader=loader))
    found = []
    for epoch in epochs:
        draw(0, epoch)
        found.append([pair for batch in loader for pair in batch])
    return found


@pytest.mark.parametrize('options', [{}, dict(disable_subprocess_warning=True)])
def test_a_loader_without_worker_init_fn_draws_anew_in_every_epoch(options):
    first, second = numbers_of_epochs([1, 2], **options)
    assert not {*first} & {*second}
    # a resumed run
    assert numbers_of_epochs([2], **options) == [second]


def own_seeding(worker_id):
    np.random.seed(5)


def test_a_function_of_the_config_seeds_the_workers():
    first, second = numbers_of_epochs([1, 2], worker_init_fn=dict(type=own_seeding))
    assert [value for value, _ in first] == [value for value, _ in second]


def test_workers_that_outlive_an_epoch_are_warned_of():
    def warnings(persistent):
        messages = []
        loader = DataLoader(Draws(), num_workers=1, persistent_workers=persistent)
        logger = SimpleNamespace(warning=messages.append)
        EpochSeedHook().before_train(SimpleNamespace(train_dataloader=loader, logger=logger))
        return messages

    assert not warnings(False)
    assert len(warnings(True)) == 1 and 'persistent_workers=True' in warnings(True)[0]
