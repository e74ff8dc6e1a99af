# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose, DefaultSampler, InfiniteSampler
from mmengine.registry import init_default_scope
from torch.utils.data import ConcatDataset, TensorDataset

from mmfrac.datasets.samplers import MultiSourceBatchSampler, sources_without_sup
from mmfrac.utils.dataset_wrappers import branches_of


def dataset(*sizes: int) -> ConcatDataset:
    return ConcatDataset([TensorDataset(torch.arange(size)) for size in sizes])


def batches(
    sizes, ratio, batch_size, world=1, epoch=0, rank=None, supervised_only=False, **options
):
    drawn = []
    for this_rank in range(world) if rank is None else [rank]:
        sampler = DefaultSampler(dataset(*sizes), shuffle=True, seed=3)
        sampler.rank, sampler.world_size = this_rank, world
        sampler.set_epoch(epoch)
        batch_sampler = MultiSourceBatchSampler(sampler, batch_size, ratio, **options)
        batch_sampler.supervised_only = supervised_only
        drawn.append(list(batch_sampler))
        assert len(drawn[-1]) == len(batch_sampler)
    return drawn


def source_of(index, sizes):
    for source, size in enumerate(sizes):
        if index < size:
            return source
        index -= size
    raise AssertionError


def test_ratio_in_every_batch_and_finite_epochs():
    (drawn,) = batches([30, 10], [1, 1], 4)
    assert len(drawn) == 15  # 30 films, 2 a batch
    for batch in drawn:
        assert Counter(source_of(i, [30, 10]) for i in batch) == {0: 2, 1: 2}
    seen = Counter(i for batch in drawn for i in batch)
    assert all(seen[i] == 1 for i in range(30)) and all(seen[i] == 3 for i in range(30, 40))
    (short,) = batches([30, 10], [1, 1], 4, epoch_length='min')
    assert len(short) == 5
    (fixed,) = batches([30, 10], [1, 1], 4, epoch_length=7)
    assert len(fixed) == 7


def test_batches_of_one_take_turns():
    (drawn,) = batches([6, 6], [1, 1], 1, epoch_length=8)
    sources = [source_of(batch[0], [6, 6]) for batch in drawn]
    assert sources.count(0) == sources.count(1) == 4
    assert all(len(batch) == 1 for batch in drawn)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 3),
    st.data(),
)
def test_ranks_share_one_epoch(sizes, batch_size, world, epoch, data):
    ratio = data.draw(st.lists(st.integers(1, 5), min_size=len(sizes), max_size=len(sizes)))
    drawn = batches(sizes, ratio, batch_size, world, epoch)
    lengths = {len(rank) for rank in drawn}
    assert len(lengths) == 1  # no rank waits for another
    assert all(len(batch) == batch_size for rank in drawn for batch in rank)
    seen = Counter(i for rank in drawn for batch in rank for i in batch)
    assert len(seen) == sum(sizes)  # 'max': every film is read
    offset = 0
    for source, size in enumerate(sizes):
        counts = [seen[offset + i] for i in range(size)]
        assert max(counts) - min(counts) <= 1  # passes, not independent draws
        offset += size
        share = sum(counts) / (len(drawn[0]) * batch_size * world)
        assert share == pytest.approx(ratio[source] / sum(ratio), abs=1 / len(drawn[0]) + 1e-9)


def test_order_depends_on_epoch_and_seed_alone():
    assert batches([9, 9], [1, 1], 4) == batches([9, 9], [1, 1], 4)
    assert batches([9, 9], [1, 1], 4) != batches([9, 9], [1, 1], 4, epoch=1)


def test_burn_in_reads_supervised_sources_alone():
    (drawn,) = batches([8, 20, 10], [1, 3, 4], 8, supervised_only=True)
    for batch in drawn:
        assert Counter(source_of(i, [8, 20, 10]) for i in batch) == {0: 2, 1: 6}
    assert len(drawn) == len(batches([8, 20, 10], [1, 3, 4], 8)[0])


@pytest.mark.parametrize(
    'ratio, options, expected',
    [
        ([1, 3, 4], {}, True),
        ([1, 3, 0], {}, False),
        ([1, 3, 4], dict(unsup_sources=[]), False),
        ([0, 0, 4], {}, True),
    ],
)
def test_it_knows_whether_burn_in_leaves_a_source_out(ratio, options, expected):
    sampler = DefaultSampler(dataset(8, 20, 10))
    assert MultiSourceBatchSampler(sampler, 8, ratio, **options).has_unsup_sources is expected


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(source_ratio=[1]), 'source_ratio'),
        (dict(source_ratio=[1, -1]), 'source_ratio'),
        (dict(source_ratio=[1, 1], epoch_length='long'), 'epoch_length'),
        (dict(source_ratio=[1, 1], batch_size=0), 'batch_size'),
    ],
)
def test_bad_options_are_refused(options, match):
    sampler = DefaultSampler(dataset(4, 4))
    with pytest.raises(ValueError, match=match):
        MultiSourceBatchSampler(sampler, **{'batch_size': 2, **options})


def test_needs_several_sources():
    with pytest.raises(ValueError, match='ConcatDataset'):
        MultiSourceBatchSampler(DefaultSampler(TensorDataset(torch.arange(3))), 2, [1])
    with pytest.raises(ValueError, match='holds no film'):
        MultiSourceBatchSampler(DefaultSampler(dataset(3, 0)), 2, [1, 1])


def test_a_sampler_without_epochs_is_refused():
    with pytest.raises(
        ValueError, match=r'DefaultSampler, got InfiniteSampler, which has no epoch'
    ):
        MultiSourceBatchSampler(InfiniteSampler(dataset(3, 3)), 2, [1, 1])


class RepeatDataset(TensorDataset):
    """As mmengine's, which wants meta information: the images stand in ``dataset``."""

    def __init__(self, dataset, times):
        super().__init__(torch.arange(times * len(dataset)))
        self.dataset = dataset


class Images(TensorDataset):
    """Two images whose pipeline gives these branches."""

    def __init__(self, *branches):
        super().__init__(torch.arange(2))
        steps = [dict(type='MultiBranch', branch_field=[], **{name: [] for name in branches})]
        self.pipeline = Compose(steps if branches else [])


@pytest.mark.parametrize(
    'branches, expected',
    [
        ([(), ()], [1]),  # of no branches, the last
        ([('sup',), ('unsup_teacher', 'unsup_student')], [1]),
        ([('unsup_teacher',), ('sup',), ('unsup_teacher', 'unsup_student')], [0, 2]),
        ([('sup',), ('sup',)], []),
        ([('sup', 'unsup_teacher'), ('unsup_teacher',)], [1]),
    ],
)
def test_sources_without_a_supervised_branch_are_found(branches, expected):
    init_default_scope('mmdet')
    sources = [Images(*names) for names in branches]
    assert sources_without_sup(sources) == expected
    sampler = DefaultSampler(ConcatDataset(sources))
    drawn = MultiSourceBatchSampler(sampler, 2, [1] * len(sources))
    assert drawn.unsup_sources == expected
    assert sources_without_sup([RepeatDataset(source, 2) for source in sources]) == expected


def test_branches_behind_wrappers():
    init_default_scope('mmdet')
    sup, unsup = Images('sup'), Images('unsup_teacher', 'unsup_student')
    joined = ConcatDataset([unsup, RepeatDataset(unsup, 2)])
    assert branches_of(joined) == {'unsup_teacher', 'unsup_student'}
    assert branches_of(ConcatDataset([joined, sup])) == {'sup', 'unsup_teacher', 'unsup_student'}
    assert branches_of(Images()) == set()
    sources = ConcatDataset([sup, joined])
    drawn = MultiSourceBatchSampler(DefaultSampler(sources), 2, [1, 1])
    assert drawn.unsup_sources == [1] and drawn.has_unsup_sources
    # burn-in reads the two supervised images alone
    drawn.supervised_only = True
    assert {index for batch in drawn for index in batch} == {0, 1}


class Wrapper(RepeatDataset):
    """A user's: with a pipeline of its own, here a list as that of ``MultiImageMixDataset``."""

    def __init__(self, dataset, pipeline):
        super().__init__(dataset, 1)
        self.pipeline = pipeline


def test_branches_of_a_wrappers_own_pipeline():
    init_default_scope('mmdet')
    unsup = Images('unsup_teacher', 'unsup_student').pipeline
    names = {'unsup_teacher', 'unsup_student'}
    for pipeline in (unsup, unsup.transforms):
        assert branches_of(Wrapper(Images(), pipeline)) == names
        assert branches_of(RepeatDataset(Wrapper(Images(), pipeline), 2)) == names
        assert branches_of(ConcatDataset([Images('sup'), Wrapper(Images(), pipeline)])) == (
            names | {'sup'}
        )
        assert sources_without_sup([Wrapper(Images(), pipeline), Images('sup')]) == [0]
    # none in a function
    assert branches_of(Wrapper(Images('sup'), lambda image: image)) == {'sup'}
    assert branches_of(Wrapper(Images('sup'), None)) == {'sup'}


@pytest.mark.parametrize('wrong', [3, -4])
def test_an_unsupervised_source_that_is_not_there(wrong):
    sampler = DefaultSampler(dataset(2, 2, 2))
    with pytest.raises(ValueError, match=r'has 3 sources'):
        MultiSourceBatchSampler(sampler, 2, [1, 1, 1], unsup_sources=[wrong])
