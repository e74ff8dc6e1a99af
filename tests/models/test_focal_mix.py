# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The parts of FocalMix: averaged views and MixUp."""

import pytest
import torch
from mmdet.registry import MODELS

from mmfrac.models import BaseTeacher
from mmfrac.models.batch_augments.mix_up import MixUp, mix
from mmfrac.models.teachers import AugmentedTeacher
from tests.models.small_model import build, film, semi_batch, semi_cfg


class Leftmost(BaseTeacher):
    """A teacher that sees the left half of its view alone."""

    def forward(self, student, inputs, samples):
        seen = inputs.clone()
        seen[..., inputs.size(-1) // 2 :] = 0
        return seen


if 'LeftmostTeacherOfTest' not in MODELS:
    MODELS.register_module(name='LeftmostTeacherOfTest', module=Leftmost)


def test_views_are_turned_back_and_averaged_by_hand():
    inputs = torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.0, 1.0, 0.0, 1.0]]).view(1, 1, 2, 4)
    teacher = AugmentedTeacher(dict(type='LeftmostTeacherOfTest'), ('none', 'horizontal'))
    # each half is seen by one of the two views
    torch.testing.assert_close(teacher(None, inputs, []), inputs / 2)
    one = AugmentedTeacher(dict(type='LeftmostTeacherOfTest'), ('horizontal',))
    assert torch.equal(one(None, inputs, [])[..., :2], torch.zeros(1, 1, 2, 2))
    assert torch.equal(one(None, inputs, [])[..., 2:], inputs[..., 2:])
    both = AugmentedTeacher(
        dict(type='LeftmostTeacherOfTest'), ('none', 'horizontal', 'vertical', 'diagonal')
    )
    torch.testing.assert_close(both(None, inputs, []), inputs / 2)


def test_wraps_an_average_but_no_memory():
    model = build(semi_cfg(teacher=dict(type='AugmentedTeacher', teacher=dict(type='MeanTeacher'))))
    model.teacher.start(model.student)
    model.teacher.after_step(model.student)
    assert model.teacher.teacher.ema.n_averaged == 1
    assert model.teacher(model.student, torch.rand(2, 1, 64, 64), []).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match='put the AugmentedTeacher into it'):
        AugmentedTeacher(dict(type='TemporalEnsembleTeacher'))
    for views in ((), ('none', 'left')):
        with pytest.raises(ValueError, match='views must be some of'):
            AugmentedTeacher(views=views)


def test_mix_by_hand():
    values = torch.tensor([1.0, 3.0, 7.0]).view(3, 1, 1, 1)
    found = mix(values, torch.tensor([1, 2, 2]), torch.tensor([0.75, 0.5, 0.6]))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.5, 5.0, 7.0]))


def branches(sup_size=4):
    torch.manual_seed(3)
    inputs = dict(sup=torch.rand(2, 1, sup_size, sup_size), unsup_student=torch.rand(6, 1, 4, 4))
    targets = {
        # a target that follows from the film shows which films were mixed, and how
        name: dict(target=films * 0.5, valid=films[:, :1] > 0.1, labels=torch.arange(len(films)))
        for name, films in inputs.items()
    }
    return inputs, targets


def test_films_and_targets_are_mixed_alike_over_both_branches():
    inputs, targets = branches()
    mixed, mixed_targets = MixUp(eta=5.0)(inputs, targets)
    films = torch.cat([inputs['sup'], inputs['unsup_student']])
    partners = set()
    for name, offset in (('sup', 0), ('unsup_student', 2)):
        torch.testing.assert_close(mixed_targets[name]['target'], mixed[name] * 0.5)
        assert torch.equal(mixed_targets[name]['labels'], targets[name]['labels'])
        for index, film_mixed in enumerate(mixed[name]):
            own = films[offset + index]
            shares = [
                ((film_mixed - other) / (own - other)).flatten()
                for other in films
                if not torch.equal(own, other)
            ]
            # a share that is the same in all cells, and at least one half; 1: mixed with itself
            fits = [s for s in shares if torch.allclose(s, s[0].expand_as(s), atol=1e-3)]
            assert torch.equal(film_mixed, own) or len(fits) == 1
            assert all(0.5 - 1e-3 <= s[0] <= 1 + 1e-3 for s in fits)
            partners.add(bool(fits) and offset)
        assert not (mixed_targets[name]['valid'] & ~targets[name]['valid']).any()
    assert len(partners) > 1
    again, _ = MixUp(eta=5.0)(*branches())
    assert all(torch.equal(again[name], mixed[name]) for name in mixed)


def test_branches_of_another_size_are_mixed_by_themselves():
    inputs, targets = branches(sup_size=8)
    mixed, mixed_targets = MixUp()(inputs, targets)
    assert mixed['sup'].shape == inputs['sup'].shape
    torch.testing.assert_close(mixed_targets['sup']['target'], mixed['sup'] * 0.5)
    with pytest.raises(ValueError, match='eta must be positive'):
        MixUp(eta=0)


def test_model_trains_on_mixed_films_after_burn_in_alone():
    class Black(torch.nn.Module):
        calls = 0

        def forward(self, inputs, targets):
            self.calls += 1
            return {name: film * 0 for name, film in inputs.items()}, targets

    model = build(
        semi_cfg(batch_augments=[dict(type='MixUp')], semi_train_cfg=dict(burn_in_epochs=1))
    ).train()
    assert isinstance(model.batch_augments[0], MixUp)
    augment = model.batch_augments[0] = Black()
    batch = semi_batch([film('a'), film('b', label=0)], [film('c', regions=False)])
    seen = []
    model.student.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    for epoch in (0, 1):
        model.set_epoch(epoch)
        model(**model.data_preprocessor(batch, training=True), mode='loss')
        assert augment.calls == epoch
    # burn-in, the teacher's pass, the student's
    assert [bool(inputs.any()) for inputs in seen] == [True, True, False]


def test_batch_augments_are_a_list():
    with pytest.raises(TypeError, match=r'batch_augments of SemiProbMapDetector is a list: \[\{'):
        build(semi_cfg(batch_augments=dict(type='MixUp')))
