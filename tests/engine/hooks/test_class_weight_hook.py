# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from torch.utils.data import ConcatDataset

from mmfrac.engine.hooks.class_weight_hook import class_frequencies
from mmfrac.models.losses import WeightedBCELoss


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


def test_a_data_set_without_labels_is_named():
    with pytest.raises(ValueError, match='needs labels, which list does not have'):
        class_frequencies([1, 2])
