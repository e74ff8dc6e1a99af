# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmfrac.engine.hooks.checkpoint_guard_hook import check_state_dict
from mmfrac.models import PredictionEMA, ProbMapDetector
from mmfrac.models.state_dicts import detector_checkpoint
from mmfrac.models.target_maps import stack_labels
from tests.models.small_model import build, collate, detector_cfg, film, semi_batch, semi_cfg

HEAD = dict(type='ImageHead', in_channels=16)
NAMES = (
    'image_head.norm.weight',
    'image_head.norm.bias',
    'image_head.fc.weight',
    'image_head.fc.bias',
)


def with_head(**options) -> dict:
    return dict(detector_cfg(), image_head=dict(HEAD, **options))


def semi_with_head(**options) -> dict:
    return dict(semi_cfg(**options), detector=with_head())


def losses(model, batch):
    return model(**model.data_preprocessor(batch, training=True), mode='loss')


def test_logit_by_hand():
    head = MODELS.build(dict(type='ImageHead', in_channels=1, num_levels=2)).eval()
    head.norm = nn.Identity()
    nn.init.constant_(head.fc.bias, 0.5)
    head.fc.weight.data = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    fine = torch.tensor([[1.0, 3.0], [2.0, 6.0]]).view(1, 1, 2, 2)  # mean 3, maximum 6
    coarse = torch.tensor([-4.0]).view(1, 1, 1, 1)
    unused = torch.full((1, 1, 1, 1), 99.0)
    assert head([fine, coarse, unused]).tolist() == [3 + 60 - 400 - 4000 + 0.5]


def test_loss_by_hand():
    head = MODELS.build(dict(HEAD, loss_weight=2.0))
    logits = torch.tensor([0.9, 0.2, 0.6]).logit().requires_grad_()
    loss = head.loss(logits, torch.tensor([1, 0, -1]))['loss_image']
    assert loss.item() == pytest.approx(2 * -(math.log(0.9) + math.log(0.8)) / 2)
    loss.backward()
    assert logits.grad[2] == 0 and logits.grad[:2].abs().min() > 0
    # a rank without any label takes part, too
    none = head.loss(logits, torch.tensor([-1, -1, -1]))['loss_image']
    assert none.item() == 0 and none.requires_grad


@pytest.mark.parametrize(
    'options', [dict(dropout=1.0), dict(num_levels=0), dict(in_channels=0), dict(loss_weight=0.0)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r'must'):
        MODELS.build(dict(HEAD, **options))


def test_what_is_no_image_head_is_refused():
    # it would be built, and no loss would ask it
    with pytest.raises(TypeError, match=r'is a KLDLoss, which nobody would train'):
        build(dict(detector_cfg(), image_head=dict(type='KLDLoss')))


@pytest.mark.parametrize('options', [dict(num_levels=6), dict(in_channels=8)])
def test_of_another_neck(options):
    model = build(with_head(**options))
    with pytest.raises(ValueError, match=r'neck gives 4 of 16: set num_levels and in_channels'):
        losses(model, collate([film('a')]))


def test_a_detector_learns_labels_and_predicts_without_them():
    model, plain = build(with_head()), build(detector_cfg())
    plain.load_state_dict(model.state_dict(), strict=False)
    films = [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0), film('c', label=-1)]
    model.eval(), plain.eval()
    found, same = losses(model, collate(films)), losses(plain, collate(films))
    assert set(found) == {'loss_sup', 'loss_image'} and set(same) == {'loss_sup'}
    assert found['loss_sup'] == same['loss_sup']
    # the logits begin at about 0
    assert found['loss_image'].item() == pytest.approx(0.05 * math.log(2), rel=0.1)
    found['loss_image'].backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert model.prob_map_head.logit_conv.weight.grad is None
    nn.init.constant_(model.image_head.fc.bias, 9.0)
    for one, other in zip(*(m.test_step(collate(copy.deepcopy(films))) for m in (model, plain))):
        assert one.pred_score == other.pred_score
        assert torch.equal(one.pred_prob_map.data, other.pred_prob_map.data)


def test_all_branches_teach_their_labels():
    model = build(semi_with_head()).eval()
    sup = [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0)]
    unsup = [film('c', regions=False), film('u', label=-1, regions=False)]
    found = losses(model, semi_batch(sup, unsup))
    batch = model.student.data_preprocessor(collate([*sup, unsup[0]]), training=True)
    logits = model.student.image_head(model.student.extract_feat(batch['inputs']))
    expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0, 1]))
    assert found['loss_image'].item() == pytest.approx(0.05 * expected.item(), rel=1e-5)
    # burn-in has labels, too
    model.semi_train_cfg['burn_in_epochs'] = 9
    assert set(losses(model, semi_batch(sup, unsup))) == {'loss_sup', 'loss_image'}


def test_views_of_two_sizes():
    model = build(semi_with_head()).eval()
    batch = semi_batch([film('a', label=0)], [film('c', regions=False, size=96)])
    assert losses(model, batch)['loss_image'] > 0


def test_labels_are_not_mixed():
    with pytest.raises(ValueError, match=r'image_head cannot be had with MixUp'):
        build(semi_with_head(batch_augments=[dict(type='MixUp')]))


def test_a_film_without_a_label_is_an_error():
    sample = film('a')['data_samples']
    bare = type(sample)(
        metainfo={key: value for key, value in sample.metainfo.items() if key != 'label'}
    )
    with pytest.raises(ValueError, match=r'data sample of a does not say label'):
        stack_labels([bare], torch.device('cpu'))


def test_checkpoints_with_and_without():
    plain, model, semi = build(detector_cfg()), build(with_head()), build(semi_with_head())
    # of a model trained without one: enough to predict with, to begin with, and not to go on from
    for one, before in ((model, plain), (semi, build(semi_cfg()))):
        state = before.state_dict()
        check_state_dict(one, state, for_prediction=True)
        with pytest.raises(ValueError, match=r'without an image head: .*image_head=None'):
            check_state_dict(one, state)
    check_state_dict(build(dict(with_head(), image_head=None)), plain.state_dict())
    exported = detector_checkpoint(dict(state_dict=semi.state_dict()))['state_dict']
    assert set(exported) == set(model.state_dict()) == set(plain.state_dict()) | set(NAMES)


def test_an_own_detectors_head_of_that_name_is_its_own():
    class Own(ProbMapDetector):
        def __init__(self, **options):
            super().__init__(**options)
            self.image_head = nn.Linear(16, 1)

    cfg = dict(semi_cfg(), detector=dict(detector_cfg(), type=Own))
    model = build(cfg)
    assert 'student.image_head.' not in model.training_only
    batch = semi_batch([film('a', label=0)], [film('c', regions=False)])
    assert 'loss_image' not in losses(model, batch)


def test_an_average_for_prediction_leaves_it_out():
    semi = build(semi_with_head())
    average = PredictionEMA(semi)
    assert average.module.student.image_head is semi.student.image_head
    assert average.module.student.neck is not semi.student.neck
    assert not [name for name in average.avg_parameters if 'image_head' in name]


def test_a_frozen_teacher_needs_none(tmp_path):
    torch.save(build(detector_cfg()).state_dict(), tmp_path / 'plain.pth')
    teacher = dict(type='FrozenTeacher', checkpoints=str(tmp_path / 'plain.pth'))
    model = build(semi_with_head(teacher=teacher))
    batch = semi_batch([film('a', label=0)], [film('c', regions=False)])
    assert losses(model, batch)['loss_semi'].isfinite()
