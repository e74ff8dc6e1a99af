# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler
from torch.utils.data import ConcatDataset, Sampler

from mmfrac.utils.dataset_wrappers import branches_of

# what it uses of a sampler
_OF_SAMPLERS = ('seed', 'epoch', 'shuffle', 'rank', 'world_size')


@DATA_SAMPLERS.register_module()
class MultiSourceBatchSampler(Sampler):
    """Batches that mix the sources of a ``ConcatDataset`` in a fixed ratio, in finite epochs.

    Unlike mmdet's ``MultiSourceSampler`` an epoch ends, so that epoch-based training, evaluation and
    learning-rate schedules work. It wraps the dataloader's ``DefaultSampler``, whose seed, rank,
    world size and epoch it uses: every rank reads its own share of one global order, which depends
    on seed and epoch alone. A source shorter than the epoch starts over in a new order after each
    pass. Where a share is no whole number of films per batch it is carried over to the next one, so
    the ratio holds on average (with ``batch_size=1`` the sources take turns).

    Every epoch has the same number of batches. While ``supervised_only`` is set (``SemiEpochHook``
    does, during burn-in) the batches are filled from the supervised sources alone.

    Args:
        sampler (Sampler): mmengine ``DefaultSampler`` over a ``ConcatDataset``.
        batch_size (int): Films per batch and rank.
        source_ratio (Sequence[float]): Share of each source, in the order of the data sets.
        epoch_length (str | int): ``'max'``: every film of every source is read at least once;
            ``'min'``: one pass over the source that ends first; or a number of batches per rank.
            Defaults to ``'max'``.
        unsup_sources (Sequence[int], optional): Sources left out during burn-in. Defaults to None:
            those whose pipeline has no branch ``sup``, see ``sources_without_sup``.

    Attributes:
        unsup_sources (list[int]): Their indices, in ascending order.

    Raises:
        ValueError: When the ratio does not fit the data sets, there is no such unsupervised source, or
            the sampler is another one.
    """

    def __init__(
        self,
        sampler: DefaultSampler,
        batch_size: int,
        source_ratio: Sequence[float],
        epoch_length: str | int = 'max',
        unsup_sources: Sequence[int] | None = None,
    ) -> None:
        dataset = getattr(sampler, 'dataset', None)
        if not isinstance(dataset, ConcatDataset):
            raise ValueError(
                f'MultiSourceBatchSampler needs a ConcatDataset, got {type(dataset).__name__}'
            )
        missing = [name for name in _OF_SAMPLERS if not hasattr(sampler, name)]
        if missing:
            raise ValueError(
                f'MultiSourceBatchSampler needs a DefaultSampler, got {type(sampler).__name__}, which '
                f'has no {", ".join(missing)}: set train_dataloader.sampler.type to DefaultSampler'
            )
        self.sizes = [len(source) for source in dataset.datasets]  # type: ignore[arg-type]
        self.offsets = [0, *dataset.cumulative_sizes[:-1]]
        if len(source_ratio) != len(self.sizes):
            raise ValueError(
                f'source_ratio {list(source_ratio)} names {len(source_ratio)} sources, the data set '
                f'has {len(self.sizes)}'
            )
        if min(source_ratio) < 0 or sum(source_ratio) <= 0:
            raise ValueError(f'source_ratio must be >= 0 with a positive sum, got {source_ratio}')
        for source, (size, ratio) in enumerate(zip(self.sizes, source_ratio)):
            if ratio > 0 and size == 0:
                raise ValueError(f'source {source} has a share of {ratio} but holds no film')
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        self.sampler = sampler
        self.batch_size = batch_size
        self.shares = _shares(source_ratio, batch_size)
        if unsup_sources is None:
            unsup_sources = sources_without_sup(dataset.datasets)
        count = len(self.sizes)
        if any(not -count <= source < count for source in unsup_sources):
            raise ValueError(
                f'unsup_sources {list(unsup_sources)}: the data set has {count} sources, counted from 0'
            )
        self.unsup_sources = sorted({source % count for source in unsup_sources})
        supervised = list(source_ratio)
        for source in self.unsup_sources:
            supervised[source] = 0
        self.supervised_shares = _shares(supervised, batch_size) if any(supervised) else None
        self.supervised_only = False
        self.num_batches = self._epoch_length(epoch_length)

    @property
    def has_unsup_sources(self) -> bool:
        """Whether burn-in leaves out what other epochs read."""
        return self.supervised_shares != self.shares

    def _epoch_length(self, epoch_length: str | int) -> int:
        if isinstance(epoch_length, int) and epoch_length > 0:
            return epoch_length
        if epoch_length not in ('max', 'min'):
            raise ValueError(
                f"epoch_length must be 'max', 'min' or a number of batches, got {epoch_length!r}"
            )
        covered = all if epoch_length == 'max' else any
        needed = [math.ceil(size / self.sampler.world_size) for size in self.sizes]
        taken = [0] * len(self.sizes)
        for batch, counts in enumerate(_apportion(self.shares, self.batch_size), start=1):
            taken = [before + count for before, count in zip(taken, counts)]
            if covered(
                have >= need for have, need, share in zip(taken, needed, self.shares) if share
            ):
                return batch
        raise AssertionError('an endless iterator ended')

    def __iter__(self) -> Iterator[list[int]]:
        sampler = self.sampler
        shares = self.supervised_shares if self.supervised_only else self.shares
        if shares is None:
            raise ValueError('no supervised source to burn in on: all are unsup_sources')
        films = [self._global_order(source) for source in range(len(self.sizes))]
        for counts in itertools.islice(_apportion(shares, self.batch_size), self.num_batches):
            chosen: list[int] = []
            for source, count in enumerate(counts):
                # one block of count * world_size films, dealt out to the ranks in turn
                block = [next(films[source]) for _ in range(count * sampler.world_size)]
                chosen += block[sampler.rank :: sampler.world_size]
            yield chosen

    def __len__(self) -> int:
        return self.num_batches

    def _global_order(self, source: int) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.sampler.seed + 7919 * source + 104729 * self.sampler.epoch)
        size, offset = self.sizes[source], self.offsets[source]
        while size:
            order = (
                torch.randperm(size, generator=generator)
                if self.sampler.shuffle
                else torch.arange(size)
            )
            yield from (order + offset).tolist()


def sources_without_sup(datasets: Sequence[Any]) -> list[int]:
    """Which data sets burn-in has no use for: their pipeline gives no branch ``sup``.

    Args:
        datasets (Sequence): With ``pipeline``, whose last step is a ``MultiBranch`` in teacher-student
            training; or wrappers of such (``RepeatDataset``, ``ConcatDataset``).

    Returns:
        list[int]: Their indices; the last one where no pipeline has branches.
    """
    branches = [branches_of(dataset) for dataset in datasets]
    if not any(branches):
        return [len(datasets) - 1]
    return [index for index, names in enumerate(branches) if names and 'sup' not in names]


def _shares(ratio: Sequence[float], batch_size: int) -> list[float]:
    return [batch_size * value / sum(ratio) for value in ratio]


def _apportion(shares: Sequence[float], batch_size: int) -> Iterator[list[int]]:
    """Films per source of one batch after the other, without end.

    Each batch is filled by largest remainder of what is due by now and was not given yet, so that
    no source is ever a whole film behind or ahead.
    """
    due = [0.0] * len(shares)
    while True:
        due = [rest + share for rest, share in zip(due, shares)]
        counts = [max(math.floor(value + 1e-9), 0) for value in due]
        by_remainder = sorted(
            (source for source, share in enumerate(shares) if share),
            key=lambda source: counts[source] - due[source],
        )
        for source in by_remainder[: batch_size - sum(counts)]:
            counts[source] += 1
        due = [value - count for value, count in zip(due, counts)]
        yield counts
