# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample

from mmfrac.engine.hooks import dynamic_sharpening_hook as module
from mmfrac.engine.hooks.dynamic_sharpening_hook import DynamicSharpeningHook
from mmfrac.models import DynamicSharpening
from tests.models.small_model import build, semi_cfg


def updated(ranks, quantile=0.5):
    """The step after an epoch of several ranks, each with the scores of the films that it saw."""
    step = DynamicSharpening(quantile=quantile)
    with patch.object(module, 'all_gather_object', lambda own: ranks):
        DynamicSharpeningHook()._update(None, step)
    return step


def test_median_is_over_distinct_films():
    # film 'a' was read twice on one rank and once on another
    ranks = [{'a': [0.2, 0.3], 'b': [0.9]}, {'a': [0.7], 'c': [0.1]}]
    step = updated(ranks)
    assert step.m.item() == pytest.approx(0.4)  # the mean of film 'a'
    assert step.t.item() == pytest.approx(0.3) and step.a.item() == 6
    # without a film nothing is known
    assert math.isnan(updated([{}, {}]).m.item())
    # of tools that have a step without a training
    assert module.quantile_over_images(ranks) == pytest.approx(0.4)
    assert module.quantile_over_images([{}, {}]) is None


def test_other_quantiles_are_interpolated():
    ranks = [{'a': [0.1], 'b': [0.3]}, {'c': [0.5], 'd': [0.7], 'e': [0.9]}]
    assert updated(ranks, 0.1).m.item() == pytest.approx(0.18)  # 0.4 of the way from a to b
    assert updated(ranks, 0.75).m.item() == pytest.approx(0.7)


@pytest.mark.parametrize('quantile, m, t', [(0.5, 0.7, 0.5), (0.1, 0.38, 0.28)])
def test_the_quantile_of_the_step_sets_t(quantile, m, t):
    sharpening = dict(type='DynamicSharpening', quantile=quantile)
    model = build(semi_cfg(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')]))
    step = model.pseudo_pipeline[0]
    samples = [DetDataSample(metainfo=dict(img_path=name)) for name in 'abc']
    prob_maps = torch.zeros(3, 1, 2, 2)
    prob_maps[:, 0, 1, 1] = torch.tensor([0.7, 0.9, 0.3])
    step.note_scores(prob_maps, samples)
    DynamicSharpeningHook().after_train_epoch(SimpleNamespace(model=model))
    assert step.m.item() == pytest.approx(m) and step.t.item() == pytest.approx(t)


@settings(deadline=None)
@given(
    st.dictionaries(st.text('abcdefgh', min_size=1, max_size=2), st.floats(0, 1), min_size=1),
    st.integers(1, 5),
    st.randoms(),
)
def test_median_does_not_depend_on_the_ranks(scores, world, random):
    alone = updated([{film: [score] for film, score in scores.items()}]).m.item()
    ranks = [{} for _ in range(world)]
    films = list(scores)
    # a padded epoch repeats films
    for film in films + random.choices(films, k=3):
        random.choice(ranks).setdefault(film, []).append(scores[film])
    assert updated(ranks).m.item() == pytest.approx(alone, abs=1e-12)
