# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Steps of later methods: FreeMatch, SoftMatch, Dense Teacher, a mixture of scores; by hand."""

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

from mmfrac.models.pseudo_labels.score_mixture import mixture_threshold, mode_threshold
from mmfrac.models.pseudo_labels.sharpening import dynamic_sharpen


def sample(valid=None, **metainfo):
    one = DetDataSample(metainfo=dict(img_path='film') | metainfo)
    if valid is not None:
        one.gt_prob_map = PixelData(valid=torch.tensor(valid).view(1, 1, -1))
    return one


def maps(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(len(rows), 1, 1, -1)


def run(step, y, weight=None, samples=None):
    samples = samples or [sample()] * len(y)
    weight = torch.ones_like(y) if weight is None else weight
    found, weight = step(y, weight, samples, samples)
    return found.flatten(1), weight.flatten(1)


def build(**cfg):
    return MODELS.build(cfg)


class TestAdaptiveThreshold:
    def test_by_hand(self):
        step = build(type='AdaptiveThreshold', decay=0.9, init=0.5).train()
        found, weight = run(step, maps([0.9, 0.54, 0.1], [0.3, 0.56, 0.2]))
        # tau = 0.9 * 0.5 + 0.1 * (0.9 + 0.56) / 2 = 0.523
        assert step.tau.item() == pytest.approx(0.523)
        torch.testing.assert_close(found, torch.tensor([[1, 1, 0.1], [0.3, 1, 0.2]]))
        assert weight.eq(1).all()

    def test_others_may_be_ignored(self):
        step = build(type='AdaptiveThreshold', decay=0.0, others='ignore').train()
        given = maps([1, 0.5, 1, 1]).view(1, 1, 1, 4)
        found, weight = run(step, maps([0.9, 0.95, 0.1, 0.2]), weight=given)
        # tau is the mean score itself: nothing is above it
        assert weight.eq(0).all() and found[0, 1] == pytest.approx(0.95)
        step.eval()
        _, weight = run(step, maps([0.99, 0.96, 0.1, 0.2]), weight=given)
        assert weight.tolist() == [[1, 0.5, 0, 0]]

    def test_neither_padding_nor_evaluation_moves_it(self):
        step = build(type='AdaptiveThreshold', decay=0.5)
        run(step.train(), maps([0.3, 0.9]), samples=[sample([True, False])])
        assert step.tau.item() == pytest.approx(0.4)
        run(step.eval(), maps([0.9, 0.9]))
        assert step.tau.item() == pytest.approx(0.4)

    @pytest.mark.parametrize('options', [dict(decay=1), dict(init=0), dict(others='hard')])
    def test_wrong_options(self, options):
        with pytest.raises(ValueError):
            build(type='AdaptiveThreshold', **options)


class TestConfidenceWeight:
    def test_by_hand(self):
        step = build(type='SoftMatchWeight', decay=0.5).train()
        y = maps([0.1, 0.9, 0.4, 0.0])
        # confidences 0.9, 0.9, 0.6, 1: mean 0.85, variance 0.0225 = 0.15^2
        found, weight = run(step, y)
        assert torch.equal(found, y.flatten(1))
        assert step.mean.item() == pytest.approx(0.85)
        assert step.variance.item() == pytest.approx(0.0225)
        wanted = math.exp(-(0.25**2) / (2 * 0.0225))
        assert weight[0].tolist() == pytest.approx([1, 1, wanted, 1])
        # the second batch counts half: mean (0.85 + 0.6) / 2, variance 0.0225 / 2
        run(step, maps([0.4, 0.6, 0.4, 0.6]))
        assert step.mean.item() == pytest.approx(0.725)
        assert step.variance.item() == pytest.approx(0.01125)

    def test_padding_has_no_confidence(self):
        step = build(type='SoftMatchWeight').train()
        run(step, maps([0.2, 0.5]), samples=[sample([True, False])])
        assert step.mean.item() == pytest.approx(0.8)

    def test_weights_multiply(self):
        step = build(type='SoftMatchWeight', width=0.5).eval()
        step.mean.fill_(0.9), step.variance.fill_(0.04)
        _, weight = run(step, maps([0.3, 0.99]), weight=maps([0.5, 0.0]))
        # spread 0.1: (0.2 / 0.1)^2 / 2 = 2
        assert weight[0].tolist() == pytest.approx([0.5 * math.exp(-2), 0])


@pytest.mark.parametrize('name', ['AdaptiveThreshold', 'SoftMatchWeight'])
class TestDecay:
    def test_is_the_weight_of_the_old_value(self, name):
        assert build(type=name).decay == 0.999
        assert build(type=name, decay=0.9).decay == 0.9

    @pytest.mark.parametrize('decay', [1, -0.1, math.nan])
    def test_out_of_range(self, name, decay):
        with pytest.raises(ValueError, match=rf'decay of {name} must lie in \[0, 1\), got {decay}'):
            build(type=name, decay=decay)

    def test_is_what_momentum_was(self, name):
        with pytest.warns(FutureWarning, match=f'momentum of {name} is the former name of decay'):
            assert build(type=name, momentum=0.99).decay == 0.99


class TestTopCells:
    def test_by_hand(self):
        step = build(type='TopCells', learnt=0.25, ignored=0.25)
        y = maps([0.1, 0.8, 0.3, 0.2, 0.0, 0.7, 0.05, 0.4])
        found, weight = run(step, y)
        # of 8 cells the top 2 are learnt, the next 2 ignored
        assert found[0].tolist() == pytest.approx([0, 0.8, 0, 0, 0, 0.7, 0, 0])
        assert weight[0].tolist() == [1, 1, 0, 1, 1, 1, 1, 0]

    def test_counts_the_cells_of_the_image_alone(self):
        step = build(type='TopCells', learnt=0.5, ignored=0.0)
        y = maps([0.9, 0.9, 0.3, 0.2])
        found, weight = run(step, y, samples=[sample([False, False, True, True])])
        assert found[0].tolist() == pytest.approx([0, 0, 0.3, 0]) and weight.eq(1).all()

    def test_against_a_slow_twin(self):
        generator = torch.manual_seed(1)
        y = torch.rand(5, 1, 9, 11, generator=generator)
        found, weight = build(type='TopCells', learnt=0.07, ignored=0.05)(
            y, torch.ones_like(y), [sample()] * 5, [sample()] * 5
        )
        for index in range(5):
            order = y[index].flatten().argsort(descending=True)
            learnt, near = math.ceil(99 * 0.07), math.ceil(99 * 0.12)
            assert set(found[index].flatten().nonzero().flatten().tolist()) == set(
                order[:learnt].tolist()
            )
            left_out = (weight[index].flatten() == 0).nonzero().flatten().tolist()
            assert set(left_out) == set(order[learnt:near].tolist())

    @pytest.mark.parametrize('options', [dict(learnt=0), dict(learnt=0.6, ignored=0.5)])
    def test_wrong_options(self, options):
        with pytest.raises(ValueError):
            build(type='TopCells', **options)


class TestMixture:
    def test_between_two_clusters(self):
        rng = np.random.default_rng(0)
        scores = np.concatenate([rng.normal(0.2, 0.03, 200), rng.normal(0.8, 0.03, 200)])
        assert mixture_threshold(scores) == pytest.approx(0.5, abs=0.02)
        # the wider component reaches further; with 4 times the spread its border moves towards the other
        wide = np.concatenate([rng.normal(0.2, 0.02, 500), rng.normal(0.8, 0.08, 500)])
        assert 0.25 < mixture_threshold(wide) < 0.45

    def test_border_by_the_formula(self):
        """Where two fitted normal densities, times their shares, are equal."""
        rng = np.random.default_rng(3)
        scores = np.concatenate([rng.normal(0.3, 0.05, 9000), rng.normal(0.7, 0.1, 3000)])
        found = mixture_threshold(scores)
        density = [
            share * math.exp(-((found - mean) ** 2) / (2 * std**2)) / std
            for share, mean, std in ((0.75, 0.3, 0.05), (0.25, 0.7, 0.1))
        ]
        assert density[0] == pytest.approx(density[1], rel=0.2)

    def test_score_of_the_upper_mode_by_hand(self):
        # the upper mean is 0.7375, and 0.7 is the score beside it, whose density is the greatest
        scores = [0.08, 0.1, 0.12, 0.1, 0.6, 0.7, 0.8, 0.85]
        assert mode_threshold(scores) == 0.7
        # the dense lower cluster does not count
        assert mode_threshold([*scores, *[0.1] * 30]) == 0.7
        assert mode_threshold(scores[::-1]) == 0.7

    def test_mode_of_few_scores(self):
        few = [0.1, 0.11, 0.6, 0.7, 0.83]
        assert mode_threshold(few) is None
        assert mode_threshold(few, fewest=4) == 0.7
        assert mode_threshold([0.4] * 100) is None and mode_threshold([], fewest=0) is None

    def test_none_of_too_few_or_equal(self):
        assert mixture_threshold([0.1, 0.9]) is None
        assert mixture_threshold([0.4] * 100) is None

    def test_step(self):
        step = build(type='MixtureSharpening', bounds=(0.1, 0.9))
        step.update([0.1] * 10 + [0.12] * 10 + [0.7] * 10 + [0.72] * 10)
        assert step.m.item() == pytest.approx(0.41) and 0.12 < step.t.item() < 0.7
        assert step.a.item() == (4 if step.t.item() > 0.35 else 6)
        step.eval()
        found, _ = run(step, maps([0.05, 0.9]))
        wanted = dynamic_sharpen(maps([0.05, 0.9]), step.t.float(), step.a.float())
        torch.testing.assert_close(found, wanted.flatten(1))
        step.update([0.3] * 20)  # no two components: the paper's rule
        assert step.t.item() == pytest.approx(0.2) and step.a.item() == 6

    def test_order_of_the_scores_does_not_count(self):
        rng = np.random.default_rng(2)
        scores = rng.random(50)
        assert mixture_threshold(scores) == mixture_threshold(scores[::-1])


def test_unlabelled_films_neither_count_in_m_nor_get_a_peak():
    y = maps([0.2, 0.1], [0.3, 0.1])
    samples = [sample(img_path='known', label=1), sample(img_path='unknown', label=-1)]
    sharpening = build(type='DynamicSharpening').train()
    sharpening.expect_updates()
    run(sharpening, y, samples=samples)
    assert sharpening.pop_scores() == {'known': [pytest.approx(0.2)]}
    found, _ = run(build(type='KnownPositive', floor=0.5), y, samples=samples)
    assert found.amax(1).tolist() == pytest.approx([0.5, 0.3])
