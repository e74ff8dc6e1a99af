# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy

import pytest
import torch

from mmfrac.models import BaseTeacher
from mmfrac.models.pseudo_labels.sharpening import dynamic_sharpen
from tests.models.small_model import (
    PREPROCESSOR,
    build,
    collate,
    detector_cfg,
    film,
    semi_batch,
    semi_cfg,
)


def batch():
    return semi_batch(
        [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0)],
        [film('c', regions=False), film('d', regions=False)],
    )


def losses(model, data, training=True):
    return model.train(training)(**model.data_preprocessor(data, training=True), mode='loss')


def test_losses_of_both_branches_and_gradients_from_both():
    model = build(semi_cfg())
    both = losses(model, batch())
    monitors = {'semi_weight', 'teacher_score', 'pseudo_positive', 'teacher_student_gap'}
    assert set(both) == {'loss_sup', 'loss_semi'} | monitors
    assert not any(both[name].requires_grad for name in monitors)
    for name in ('loss_sup', 'loss_semi'):
        model.zero_grad()
        losses(model, batch())[name].backward()
        gradient = model.student.prob_map_head.logit_conv.weight.grad
        assert torch.isfinite(both[name]) and gradient.abs().sum() > 0


def test_semi_loss_is_kld_to_the_sharpened_teacher_map():
    # without BN in train mode student and teacher see the same network
    model = build(semi_cfg()).eval()
    model.pseudo_pipeline[0].set_m(0.6)
    found = losses(model, batch(), training=False)['loss_semi']
    data = model.data_preprocessor(batch(), training=True)
    logits = model.student.logits(data['inputs']['unsup_student'])
    p = logits.sigmoid()[:, :, :12].double()
    y = dynamic_sharpen(p, 0.5, 4)
    expected = (y * (y / p).log() + (1 - y) * ((1 - y) / (1 - p)).log()).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_burn_in_is_supervised_training_alone():
    model = build(semi_cfg(semi_train_cfg=dict(burn_in_epochs=2)))
    model.set_epoch(1)
    assert set(losses(model, batch())) == {'loss_sup'}
    model.set_epoch(2)
    assert 'loss_semi' in losses(model, batch())


def test_weights_of_the_losses():
    plain, weighted = (
        losses(build(semi_cfg(semi_train_cfg=cfg)), batch())
        for cfg in ({}, dict(sup_weight=2.0, unsup_weight=0.5))
    )
    torch.testing.assert_close(weighted['loss_sup'], 2 * plain['loss_sup'])
    torch.testing.assert_close(weighted['loss_semi'], 0.5 * plain['loss_semi'])


def test_teacher_pass_leaves_no_trace():
    model = build(semi_cfg()).train()
    model.student.backbone.layer1.eval()  # e.g. frozen by the user
    modes = {name: module.training for name, module in model.named_modules()}
    buffers = copy.deepcopy(dict(model.student.named_buffers()))
    data = model.data_preprocessor(batch(), training=True)
    teacher_map = model.teacher(model.student, data['inputs']['unsup_teacher'], [])
    assert not teacher_map.requires_grad
    assert {name: module.training for name, module in model.named_modules()} == modes
    for name, value in model.student.named_buffers():
        torch.testing.assert_close(value, buffers[name], rtol=0, atol=0)
    torch.testing.assert_close(
        teacher_map, model.eval().student.logits(data['inputs']['unsup_teacher']).sigmoid()
    )


def test_batch_of_one_branch():
    model = build(semi_cfg())
    data = batch()
    only_unsup = {
        key: {name: ([] if name == 'sup' else value) for name, value in branches.items()}
        for key, branches in data.items()
    }
    only_unsup = {
        key: {name: value for name, value in branches.items() if value}
        for key, branches in only_unsup.items()
    }
    assert 'loss_sup' not in losses(model, only_unsup)
    model._epoch, model.semi_train_cfg['burn_in_epochs'] = 0, 1
    with pytest.raises(ValueError, match='burn-in'):
        losses(model, only_unsup)


def test_a_batch_without_branches_is_refused():
    model = build(semi_cfg())
    data = collate([film('a', label=0), film('b', label=0)])
    with pytest.raises(ValueError, match=r'without branches: .*cxr_semi.py'):
        model.data_preprocessor(data, training=True)
    assert len(model.data_preprocessor(data)['inputs']) == 2  # of validation


def test_views_of_different_sizes_fall_back_to_two_passes():
    model = build(semi_cfg())
    data = semi_batch([film('a', boxes=[(8, 8, 24, 24)])], [film('c', regions=False, size=96)])
    assert torch.isfinite(losses(model, data)['loss_semi'])


def test_supervised_checkpoint_loads_into_the_student():
    detector, model = build(detector_cfg()), build(semi_cfg())
    with torch.no_grad():
        detector.prob_map_head.logit_conv.weight.add_(1)
    missing, unexpected = model.load_state_dict(detector.state_dict(), strict=False)
    assert not unexpected and all(key.startswith('pseudo_pipeline') for key in missing)
    torch.testing.assert_close(
        model.student.prob_map_head.logit_conv.weight, detector.prob_map_head.logit_conv.weight
    )
    model.load_state_dict(copy.deepcopy(model.state_dict()))


def test_prediction_is_the_students():
    model = build(semi_cfg()).eval()
    (sample,) = model(**model.data_preprocessor(collate([film('a')])), mode='predict')
    (expected,) = model.student(
        **model.student.data_preprocessor(collate([film('a')])), mode='predict'
    )
    torch.testing.assert_close(sample.pred_prob_map.data, expected.pred_prob_map.data)


def test_unknown_semi_train_option():
    with pytest.raises(ValueError, match='burn_in_epochs'):
        build(semi_cfg(semi_train_cfg=dict(burnin=3)))


def test_monitors_leave_the_padding_out():
    class Map(BaseTeacher):
        """0.25 on the film and 0.75 in the padding, the last 4 of 16 rows."""

        def forward(self, student, inputs, samples):
            prob_map = torch.full((len(inputs), 1, 16, 16), 0.25)
            prob_map[:, :, 12:] = 0.75
            return prob_map

    model = build(semi_cfg(pseudo_pipeline=[]))
    model.teacher = Map()
    bias = model.student.prob_map_head.logit_conv
    bias.weight.data.zero_()
    bias.bias.data.zero_()  # 0.5 everywhere
    found = losses(model, batch())
    assert found['teacher_score'].item() == 0.25 and found['pseudo_positive'].item() == 0
    assert found['teacher_student_gap'].item() == 0.25


def test_two_normalisations_are_an_error():
    cfg = semi_cfg()
    cfg['data_preprocessor'] = dict(
        type='SemiDataPreprocessor', data_preprocessor=PREPROCESSOR | dict(mean=[0.5])
    )
    with pytest.raises(ValueError, match=r'mean 0\.5 and std 0\.226.*mean 0\.449 and std'):
        build(cfg)
    # the detector's own may be left out
    del cfg['detector']['data_preprocessor']
    build(cfg)
