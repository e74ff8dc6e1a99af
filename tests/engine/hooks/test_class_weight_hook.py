# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from mmdet.datasets.samplers import AspectRatioBatchSampler, ClassAwareSampler
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.runner.runner import _SlicedDataset
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader

from mmfrac.datasets.samplers import MultiSourceBatchSampler
from mmfrac.engine import ClassWeightHook
from mmfrac.engine.hooks.class_weight_hook import check_samplers, class_frequencies
from mmfrac.models.losses import WeightedBCELoss
from mmfrac.utils.dataset_wrappers import innermost_sets


class Wrapper:
    def __init__(self, dataset):
        self.dataset = dataset


class Films:
    def __init__(self, *films):
        self.films = films

    def __len__(self):
        return len(self.films)

    def labels(self):
        return np.array([label for label, _ in self.films], np.int8)

    def regions(self):
        return np.array([regions for _, regions in self.films])


POSITIVE, NEGATIVE, PUBLIC, UNKNOWN = (1, True), (0, True), (1, False), (-1, False)


def test_films_without_a_mask_do_not_count():
    films = Films(POSITIVE, NEGATIVE, NEGATIVE, PUBLIC, PUBLIC, UNKNOWN)
    assert class_frequencies(films) == (2, 1)


def test_sources_count_as_they_are_read():
    sources = ConcatDataset([Films(*[POSITIVE] * 2), Films(*[NEGATIVE] * 8), Films(PUBLIC)])
    assert class_frequencies(sources) == (8, 2)
    # 4 films a batch of each supervised source: the classes are balanced
    negatives, positives = class_frequencies(sources, shares=[4, 4, 8])
    assert negatives == pytest.approx(positives) == pytest.approx(4)
    loss = WeightedBCELoss(alpha_l=1.0)
    loss.set_class_counts(negatives, positives)
    assert loss.alpha_l.tolist() == pytest.approx([1, 1])


class Whole(Films, BaseDataset):
    """With what mmengine's wrappers ask of a data set."""

    metainfo = dict(classes=('fracture',))

    def full_init(self):
        pass

    def get_cat_ids(self, index):
        return [0] if self.films[index] == POSITIVE else []


def test_wrappers_count_as_they_are_read():
    films = Whole(POSITIVE, *[NEGATIVE] * 4, PUBLIC)
    repeated = RepeatDataset(films, 3)
    assert class_frequencies(repeated) == (12, 3)
    # a fracture in a sixth of the films is oversampled to a third of them at least: sqrt(2), twice
    balanced = ClassBalancedDataset(films, oversample_thr=1 / 3)
    assert class_frequencies(balanced) == (4, 2)
    nested = ConcatDataset([ConcatDataset([films, balanced]), repeated])
    assert class_frequencies(nested) == (4 + 4 + 12, 1 + 2 + 3)
    # a repeated source is read no more often than its share
    other = Films(*[NEGATIVE] * 6)
    wanted = class_frequencies(ConcatDataset([films, other]), shares=[1, 1])
    found = class_frequencies(ConcatDataset([repeated, other]), shares=[1, 1])
    assert found == pytest.approx(wanted)
    assert innermost_sets(ConcatDataset([repeated, other, balanced])) == [films, other, films]


def test_a_data_set_without_labels_is_named():
    with pytest.raises(ValueError, match='needs labels, which list does not have'):
        class_frequencies([1, 2])
    with pytest.raises(ValueError, match='needs labels, which Wrapper does not have'):
        class_frequencies(Wrapper([1, 2]))


def test_samplers_that_read_films_equally_often():
    films = ConcatDataset([Films(*[POSITIVE] * 2), Films(*[NEGATIVE] * 8)])
    sampler = DefaultSampler(films)
    check_samplers(DataLoader(films, batch_size=2, sampler=sampler))
    check_samplers(DataLoader(films, batch_size=2, sampler=InfiniteSampler(films)))
    for batches in (
        MultiSourceBatchSampler(sampler, 2, [1, 1]),
        AspectRatioBatchSampler(sampler, 2),
    ):
        check_samplers(DataLoader(films, batch_sampler=batches))
    sampler = ClassAwareSampler.__new__(ClassAwareSampler)
    message = r"alpha_l='auto' .* train_dataloader\.sampler is a ClassAwareSampler.*DefaultSampler"
    with pytest.raises(ValueError, match=message):
        check_samplers(DataLoader(films, batch_size=2, sampler=sampler))
    with pytest.raises(ValueError, match=r'batch_sampler is a list'):
        check_samplers(DataLoader(films, batch_sampler=[[0, 1]]))


@pytest.mark.parametrize(('count', 'weights'), [(4, [2 / 3, 2]), (10, [1, 1])])
def test_films_that_no_epoch_reads_do_not_count(count, weights):
    films = _SlicedDataset(Films(*[NEGATIVE] * 3, *[POSITIVE] * 5, *[NEGATIVE] * 2), count)
    runner = SimpleNamespace(
        model=nn.ModuleList([WeightedBCELoss(alpha_l='auto')]),
        train_dataloader=DataLoader(films, batch_size=2, sampler=DefaultSampler(films)),
        logger=Mock(),
    )
    ClassWeightHook().before_train(runner)
    assert runner.model[0].alpha_l.tolist() == pytest.approx(weights)
    said = [call.args[0] for call in runner.logger.warning.call_args_list]
    assert len(said) == (count < 10)
    assert all(
        'num_batch_per_epoch: every epoch reads the same first 4 of 10' in one for one in said
    )
