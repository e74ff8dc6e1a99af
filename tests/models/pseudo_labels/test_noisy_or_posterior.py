# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from mmfrac.models.pseudo_labels import noisy_or, noisy_or_posterior
from tests.configs.test_configs import CONFIGS
from tests.models.small_model import build, film, semi_batch, semi_cfg


def samples(valid, label=1):
    sample = DetDataSample(metainfo=dict(img_path='film', label=label))
    sample.gt_prob_map = PixelData(valid=valid)
    return [sample]


def run(maps, label=1, valid=None, **options):
    step = MODELS.build(dict(type='NoisyOrPosterior', **{'alpha_r': 1.0, **options}))
    valid = torch.ones_like(maps[0], dtype=torch.bool) if valid is None else valid
    found, weight = step(maps, torch.ones_like(maps), samples(valid, label), samples(valid, label))
    if 'alpha_r' in options:
        return found, weight
    assert torch.equal(weight, torch.ones_like(maps))
    return found


def test_by_hand():
    y = torch.zeros(1, 1, 8, 8)
    y[..., 1, 1], y[..., 1, 2] = 0.2, 0.1
    y[..., 6, 6] = 0.5
    # two peaks: 1 - .8 * .5 = .6; 0.1 is beside a higher one and counts for none
    torch.testing.assert_close(noisy_or(y), torch.tensor([0.6]))
    found = run(y)
    torch.testing.assert_close(
        found[0, 0, [1, 1, 6], [1, 2, 6]], torch.tensor([0.2, 0.1, 0.5]) / 0.6
    )
    # in windows of one cell each is a peak: 1 - .8 * .9 * .5 = .64
    torch.testing.assert_close(noisy_or(y, 1), torch.tensor([0.64]))
    torch.testing.assert_close(run(y, window=1), y / 0.64)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_equal_cells_count_once(memory_format):
    y = torch.full((2, 1, 12, 9), 0.3).contiguous(memory_format=memory_format)
    torch.testing.assert_close(noisy_or(y), torch.tensor([0.3, 0.3]))
    y = torch.zeros(1, 1, 16, 16)
    y[..., 2:4, 2:4], y[..., 10:12, 3] = 0.2, 0.4
    torch.testing.assert_close(noisy_or(y), torch.tensor([1 - 0.8 * 0.6]))
    # what bf16 makes equal is no evidence (counted as peaks it would be half as much again)
    logits = F.interpolate(
        torch.randn(4, 1, 20, 20, generator=torch.manual_seed(0)), scale_factor=4
    )
    logits = F.avg_pool2d(logits, 9, stride=1, padding=4) - 5
    whole, rounded = noisy_or(logits.sigmoid()), noisy_or(logits.bfloat16().float().sigmoid())
    torch.testing.assert_close(rounded, whole, rtol=0.15, atol=0)


def test_equals_all_combinations_of_independent_lesions():
    # of eight outcomes of three peaks the seven with a lesion are left
    p = torch.tensor([0.3, 0.05, 0.6])
    y = torch.zeros(1, 1, 9, 9)
    y[..., [0, 4, 8], [0, 4, 8]] = p
    outcomes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    weights = torch.where(outcomes > 0, p, 1 - p).prod(1) * (outcomes.sum(1) > 0)
    expected = (weights[:, None] * outcomes).sum(0) / weights.sum()
    torch.testing.assert_close(run(y)[0, 0, [0, 4, 8], [0, 4, 8]], expected)


def test_it_is_the_expected_supervised_loss():
    # odds of 1 under a weight of 4 are odds of 1/4: .2 and .2, of .36 together
    y = torch.zeros(1, 1, 9, 9)
    y[..., 0, 0] = y[..., 8, 8] = 0.5
    target, weight = run(y, alpha_r=4.0)
    q = torch.zeros_like(y)
    q[..., 0, 0] = q[..., 8, 8] = 0.2 / 0.36
    logits = torch.randn(y.shape, generator=torch.manual_seed(0))
    loss = MODELS.build(dict(type='WeightedBCELoss', alpha_r=4.0, alpha_l=1.0, reduction='sum'))
    valid = torch.ones_like(y, dtype=torch.bool)
    expected = loss(logits, q, valid, torch.ones(1, dtype=torch.long))
    found = weight * F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    torch.testing.assert_close(found.sum(), expected)
    # the best p of an image whose label is not known is the teacher's own
    target, weight = run(y, label=-1, alpha_r=4.0)
    torch.testing.assert_close(target, y)
    torch.testing.assert_close(weight[..., 0, 0], torch.tensor([[1.6]]))


def test_odds_of_a_teacher_that_does_not_follow_are_kept():
    y = torch.zeros(1, 1, 9, 9)
    y[..., 0, 0] = y[..., 8, 8] = 0.5
    # two of a half: .5 / .75 each
    target, weight = run(y, alpha_r=4.0, teacher_alpha_r=1.0)
    torch.testing.assert_close(weight[..., 0, 0], torch.tensor([[4 * 2 / 3 + 1 / 3]]))
    torch.testing.assert_close(target[..., 0, 0], torch.tensor([[8 / 9]]))


def test_certain_empty_and_unknown_maps_stay():
    certain = torch.zeros(1, 1, 7, 7)
    certain[..., 3, 3], certain[..., 0, 0] = 1.0, 0.25
    torch.testing.assert_close(run(certain), certain)
    assert torch.equal(run(torch.zeros(1, 1, 7, 7)), torch.zeros(1, 1, 7, 7))
    y = torch.rand(1, 1, 7, 7, generator=torch.manual_seed(0)) * 0.05
    assert torch.equal(run(y, label=-1), y)
    grown = run(y)
    assert (grown > y).all() and grown.max() <= 1
    assert torch.equal(grown.flatten().argsort(), y.flatten().argsort())


def test_a_peak_in_the_padding_is_none():
    y = torch.zeros(1, 1, 4, 8)
    y[..., 1, 1], y[..., 1, 7] = 0.25, 0.9
    valid = torch.ones(1, 4, 8, dtype=torch.bool)
    valid[..., 4:] = False
    assert run(y, valid=valid)[0, 0, 1, 1] == 1


def noted(step, cells, labels):
    """Targets of images with so many fracture cells."""
    target = torch.zeros(len(cells), 1, 9, 9)
    for image, count in zip(target, cells):
        image.view(-1)[:count] = 1
    valid = torch.ones_like(target, dtype=torch.bool)
    # an image with a fracture that nobody marked counts for nothing
    valid[[label == 1 and count == 0 for label, count in zip(labels, cells)]] = False
    step.note_targets(dict(target=target, valid=valid, labels=torch.tensor(labels)))


def test_the_divisor_is_matched_to_images_with_boxes():
    step = MODELS.build(dict(type='NoisyOrPosterior', alpha_r=1.0, teacher_alpha_r='match')).train()
    noted(step, [7, 5, 0, 0], [1, 1, 0, 1])
    nothing = torch.zeros(1, 1, 9, 9)
    unknown = samples(torch.ones(1, 9, 9, dtype=torch.bool), -1)
    step(nothing, torch.ones_like(nothing), unknown, unknown)
    assert step.log_cells.exp().item() == pytest.approx(6)
    # nine lesions of one cell in each image, all but certain once the odds are multiplied enough
    y = torch.zeros(2, 1, 9, 9)
    y[:, :, ::4, ::4] = 0.1
    both = samples(torch.ones(1, 9, 9, dtype=torch.bool)) * 2
    found = []
    for _ in range(400):
        noted(step, [6], [1])
        target, _ = step(y, torch.ones_like(y), both, both)
        found.append(target.flatten(1).sum(1).mean().item())
    # at first .9 / (1 - .9 ** 9); an image with one has q / (1 - (1 - q) ** 9) in each cell
    assert found[0] == pytest.approx(0.9 / (1 - 0.9**9))
    assert found[-1] == pytest.approx(6, rel=1e-3)
    odds = (1 - step.log_divisor.exp().item()) * 0.1 + step.log_divisor.exp().item()
    assert 0.1 / odds == pytest.approx(6 / 9, rel=1e-2)
    # what is not training moves nothing, and it is resumed
    state = {name: value.clone() for name, value in step.state_dict().items()}
    step.eval()(y * 0, torch.ones_like(y), both, both)
    other = MODELS.build(dict(type='NoisyOrPosterior', alpha_r=1.0, teacher_alpha_r='match'))
    other.load_state_dict(state)
    assert torch.equal(other.log_divisor, step.log_divisor)


def test_ranks_match_together(monkeypatch):
    y = torch.full((2, 1, 9, 9), 0.01)
    y[:, :, ::4, ::4] = torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    both = samples(torch.ones(1, 9, 9, dtype=torch.bool)) * 2

    def step_of(parts, shared):
        step = MODELS.build(dict(type='NoisyOrPosterior', alpha_r=1.0, teacher_alpha_r='match'))
        monkeypatch.setattr(noisy_or_posterior, 'all_reduce', shared)
        for cells, images in parts:
            noted(step.train(), cells, [1] * len(cells))
            step(y[images], torch.ones_like(y[images]), both[images], both[images])
        return step

    whole = step_of([([7, 5, 3], slice(0, 2))], lambda sums, op: None)
    sent = []
    step_of([([7, 5], slice(0, 1))], lambda sums, op: sent.append(sums.clone()))
    # the rank without boxes, and with another image, ends as the one with all
    rank = step_of([([3], slice(1, 2))], lambda sums, op: sums.add_(sent[0]))
    torch.testing.assert_close(rank.log_cells, whole.log_cells)
    torch.testing.assert_close(rank.log_divisor, whole.log_divisor)
    assert rank.log_cells.exp().item() == pytest.approx(5)
    assert rank.log_divisor.item() != 0


def test_a_divisor_without_anything_to_match_stays():
    step = MODELS.build(dict(type='NoisyOrPosterior', alpha_r=1.0, teacher_alpha_r='match')).train()
    y = torch.rand(1, 1, 9, 9, generator=torch.manual_seed(0))
    valid = torch.ones(1, 9, 9, dtype=torch.bool)
    # no image with boxes yet, or none at all in a batch, or a batch of unknown labels
    for cells, labels, label in (([], [], 1), ([0], [0], 1), ([4], [1], -1)):
        if labels:
            noted(step, cells, labels)
        found, _ = step(y, torch.ones_like(y), samples(valid, label), samples(valid, label))
        assert found.isfinite().all()
        assert step.log_divisor.item() == 0
    # of a teacher that finds nothing the odds rise to a bound
    nothing = torch.zeros(1, 1, 9, 9)
    for _ in range(300):
        step(nothing, torch.ones_like(nothing), samples(valid), samples(valid))
    assert step.log_divisor.item() == pytest.approx(-5)


def test_the_step_is_told_of_each_supervised_batch(monkeypatch):
    cells = []
    model = build(
        semi_cfg(
            pseudo_pipeline=[
                dict(type='NoisyOrPosterior', teacher_alpha_r='match'),
                dict(type='WarpToStudent'),
            ]
        )
    ).train()
    step = model.pseudo_pipeline[0]
    monkeypatch.setattr(
        step, 'note_targets', lambda targets: cells.append(targets['target'].sum().item())
    )
    model.set_epoch(0)
    model.start_teacher()
    data = semi_batch([film('a', boxes=[(8, 8, 24, 24)])], [film('c', regions=False)])
    batch = model.data_preprocessor(data, training=True)
    model(**batch, mode='loss')
    assert cells == [batch['data_samples']['sup'][0].gt_prob_map.prob_map.sum().item()]
    assert cells[0] > 0


@pytest.mark.parametrize('name', ['frac_ssl_plus', 'ablations/weighted_kld'])
def test_alpha_r_follows_that_of_the_head(name):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.merge_from_dict({'model.detector.prob_map_head.loss.alpha_r': 3.0})
    cfg.model.detector.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    part = model.pseudo_pipeline[0] if name == 'frac_ssl_plus' else model.semi_losses[0]
    assert part.alpha_r() == 3.0
    if name == 'frac_ssl_plus':
        assert part.teacher_alpha_r() == 3.0


def test_alpha_r_of_nobody_is_refused():
    step = MODELS.build(dict(type='NoisyOrPosterior'))
    with pytest.raises(ValueError, match='outside a SemiProbMapDetector'):
        y = torch.rand(1, 1, 7, 7)
        step(y, torch.ones_like(y), samples(y[0] >= 0), samples(y[0] >= 0))
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / 'frac_ssl_plus.py')
    cfg.model.detector.prob_map_head.loss = dict(type='WindowLoss', alpha_r=10.0)
    cfg.model.detector.backbone.init_cfg = None
    with pytest.raises(ValueError, match='L_sup is WindowLoss: give it a number'):
        MODELS.build(cfg.model)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(window=0), 'odd'),
        (dict(window=4), 'odd'),
        (dict(alpha_r=0.0), 'alpha_r must be'),
        (dict(alpha_r='sup'), 'alpha_r must be'),
        (dict(alpha_r=True), 'alpha_r must be'),
        (dict(teacher_alpha_r=-1.0), 'alpha_r must be'),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='NoisyOrPosterior', **options))
