# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest
import torch
from mmdet.registry import MODELS

from tests.models.small_model import build, film, semi_batch, semi_cfg


def loss(**options):
    return MODELS.build(dict(type='MILLoss', **options))


def logits_of(*probs):
    return torch.tensor(probs).logit().view(1, 1, 1, -1)


ONE = torch.tensor([1])


def test_top_k_by_hand():
    logits = logits_of(0.9, 0.2, 0.5, 0.1)
    valid = torch.ones_like(logits, dtype=torch.bool)
    found = loss(pool='top_k', k=2)(logits, valid, ONE)
    assert found.item() == pytest.approx(-math.log((0.9 + 0.5) / 2))
    valid[..., 0] = False
    assert loss(pool='top_k', k=2)(logits, valid, ONE).item() == pytest.approx(-math.log(0.35))
    # more cells asked for than there are: the mean of those that there are
    assert loss(pool='top_k', k=9)(logits, valid, ONE).item() == pytest.approx(-math.log(0.8 / 3))


def test_noisy_or_by_hand():
    logits = logits_of(0.9, 0.2, 0.5, 0.1)
    valid = torch.ones_like(logits, dtype=torch.bool)
    found = loss(pool='noisy_or', loss_weight=2.0)(logits, valid, ONE)
    assert found.item() == pytest.approx(-2 * math.log(1 - 0.1 * 0.8 * 0.5 * 0.9))


@pytest.mark.parametrize('pool', ['top_k', 'noisy_or'])
def test_only_positive_images_count_and_gradients_are_finite(pool):
    logits = torch.full((3, 1, 4, 4), -200.0, requires_grad=True)
    valid = torch.ones(3, 1, 4, 4, dtype=torch.bool)
    valid[2] = False
    value = loss(pool=pool)(logits, valid, torch.tensor([1, 0, 1]))
    value.backward()
    # the largest of the log probabilities, of top_k their mean
    lowest = 200.0 - (math.log(16) if pool == 'noisy_or' else 0)
    assert value.item() == pytest.approx(lowest, rel=1e-5)
    assert logits.grad.isfinite().all() and (logits.grad[0] < 0).any()
    assert not logits.grad[1:].any()
    assert loss(pool=pool)(logits, valid, torch.tensor([0, 0, -1])).item() == 0


@pytest.mark.parametrize('options', [dict(pool='max'), dict(k=0), dict(grid=0)])
def test_wrong_options(options):
    with pytest.raises(ValueError):
        loss(**options)


def semi(names, losses, label=1, **options):
    model = build(semi_cfg(semi_loss=losses, **options)).train()
    films = [film(name, label=label, regions=False) for name in names]
    data = semi_batch([film('a', label=0)], films)
    return model(**model.data_preprocessor(data, training=True), mode='loss')


def test_beside_l_semi_in_a_step():
    kld, mil = dict(type='KLDLoss'), dict(type='MILLoss', loss_weight=0.5)
    both = semi(['c', 'd'], [kld, mil])
    alone = semi(['c', 'd'], kld)
    assert both['semi_term_0'].item() == pytest.approx(alone['loss_semi'].item())
    assert both['semi_term_1'].item() > 0
    both['loss_semi'].backward()
    # a film whose label is not known has no lesion for sure
    assert semi(['c', 'd'], [kld, mil], label=-1)['semi_term_1'].item() == 0


def test_not_with_mixed_images():
    with pytest.raises(ValueError, match='a mixed image has two labels'):
        build(semi_cfg(semi_loss=[dict(type='MILLoss')], batch_augments=[dict(type='MixUp')]))
