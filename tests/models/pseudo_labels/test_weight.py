# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Weights of cells: given by steps, warped with the map, multiplied by the losses."""

import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from mmfrac.models import BaseTeacher, DynamicSharpening, WarpToStudent
from mmfrac.models.losses import KLDLoss, MapMSELoss
from mmfrac.models.pseudo_labels.warp import warp_map
from tests.models.small_model import build, film, semi_batch, semi_cfg

# at the ends of the band: low itself is normal, t itself is uncertain
CELLS = torch.tensor([[[[0.04, 0.05, 0.06], [0.29, 0.3, 0.31], [0.0, 0.5, 1.0]]]])
COUNTS = torch.tensor([[[[1.0, 1, 0], [0, 0, 1], [1, 1, 1]]]])


def step(low=0.05, m=0.4):
    sharpening = DynamicSharpening(quantile=0.1, low=low)
    sharpening.set_m(m)  # t = 0.3
    return sharpening.eval()


def weight_of(sharpening, weight=None):
    weight = torch.ones_like(CELLS) if weight is None else weight
    return sharpening(CELLS, weight, [], [])[1]


def test_cells_between_low_and_t_by_hand():
    assert torch.equal(weight_of(step()), COUNTS)
    assert torch.equal(weight_of(step(low=None)), torch.ones_like(CELLS))
    assert torch.equal(weight_of(step(), torch.full_like(CELLS, 0.5)), 0.5 * COUNTS)


def test_t_in_force_bounds_the_band():
    # t = 0.2, then 0.5
    assert (weight_of(step(m=0.0)) == 0).sum() == 1
    assert (weight_of(step(m=0.9)) == 0).sum() == 5


def views(student_homography, size=12):
    teacher, student = (copy.deepcopy(film('a', size=size)['data_samples']) for _ in range(2))
    student.set_metainfo(dict(homography_matrix=np.array(student_homography)))
    return [teacher], [student]


def test_weight_follows_the_map_into_the_students_view():
    samples = views([[-1.0, 0, 12], [0, 1, 0], [0, 0, 1]])
    prob_map, weight = WarpToStudent()(CELLS, COUNTS, *samples)
    torch.testing.assert_close(prob_map, CELLS.flip(3))
    torch.testing.assert_close(weight, COUNTS.flip(3))
    # shifted by one and a half cells: half of each, and beyond the film the nearest
    samples = views([[1.0, 0, 6], [0, 1, 0], [0, 0, 1]])
    _, weight = WarpToStudent()(CELLS, COUNTS, *samples)
    torch.testing.assert_close(
        weight[0, 0], torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 1, 1]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize('angle', [0.0, 7.0, 33.0, 120.0])
def test_cells_that_all_count_or_do_not_stay_so_exactly(angle):
    turn = np.eye(3)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn[:2, :2] = [[c, -s], [s, c]]
    turn[:2, 2] = 32 - turn[:2, :2] @ [32, 32]
    prob_map = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for value in (0.0, 1.0):
        weight = torch.full_like(prob_map, value)
        _, warped = WarpToStudent()(prob_map, weight, *views(turn, size=64))
        assert torch.equal(warped, weight)


@pytest.mark.parametrize('loss', [KLDLoss(), MapMSELoss(), KLDLoss(reduction='sum')])
def test_losses_multiply_the_weight(loss):
    generator = torch.Generator().manual_seed(0)
    logits, pseudo_map, weight = (torch.rand(2, 1, 3, 3, generator=generator) for _ in range(3))
    weight[0, 0, 0] = 0
    logits[0, 0, 0, 0], pseudo_map[0, 0, 0, 1] = torch.nan, torch.inf  # nobody looks there
    cells = loss.cells(logits, pseudo_map)
    total = sum(w * c for w, c in zip(weight.flatten().tolist(), cells.flatten().tolist()) if w > 0)
    expected = total if loss.reduction == 'sum' else total / weight.sum().item()
    assert loss(logits, pseudo_map, weight).item() == pytest.approx(expected, rel=1e-5)
    # 0 and 1 are what a mask says
    mask = weight > 0.5
    torch.testing.assert_close(
        loss(logits, pseudo_map, mask.float()), loss(logits, pseudo_map, mask), rtol=0, atol=0
    )
    assert loss(logits, pseudo_map, torch.zeros_like(weight)).item() == 0


class Rows(BaseTeacher):
    """0.02, 0.1 and 0.9 in rows 0 to 3, 4 to 7 and 8 to 11."""

    def forward(self, student, inputs, samples):
        prob_map = torch.full((len(inputs), 1, 16, 16), 0.02)
        prob_map[:, :, 4:8], prob_map[:, :, 8:12] = 0.1, 0.9
        return prob_map


def semi_loss(pipeline, **options):
    model = build(semi_cfg(pseudo_pipeline=pipeline, **options)).eval()
    model.teacher = Rows()
    data = semi_batch([film('a', boxes=[(8, 8, 24, 24)])], [film('c', regions=False)])
    data = model.data_preprocessor(data, training=True)
    logits = model.student.logits(data['inputs']['unsup_student'])
    return model(**data, mode='loss'), logits.sigmoid().double()


def test_semi_loss_does_not_count_uncertain_cells():
    def pipeline(low):
        return [dict(type='DynamicSharpening', low=low), dict(type='WarpToStudent')]

    found, p = semi_loss(pipeline(0.05))
    # DS with t = 0.2, a = 6
    low, high = 0.02**6 / 0.2**5, 0.2 + 0.8 * (0.7 / 0.8) ** (1 / 6)
    cells = [
        y * (y / p[:, :, rows]).log() + (1 - y) * ((1 - y) / (1 - p[:, :, rows])).log()
        for y, rows in ((low, slice(0, 4)), (high, slice(8, 12)))
    ]
    assert found['loss_semi'].item() == pytest.approx(torch.cat(cells).mean().item(), rel=1e-4)
    others, _ = semi_loss(pipeline(None))
    assert others['loss_semi'].item() != pytest.approx(found['loss_semi'].item(), rel=1e-2)


@MODELS.register_module(force=True)
class ConfidenceWeight(nn.Module):
    """A step of a user's own: each cell weighs its distance from one half."""

    def forward(self, pseudo_map, weight, teacher_samples, student_samples):
        return pseudo_map, weight * (2 * (pseudo_map - 0.5).abs())


@MODELS.register_module(force=True)
class MirrorToStudent(nn.Module):
    """A warp of a user's own, for views of which the student's is the mirror image."""

    moves_to_student = True

    def forward(self, pseudo_map, weight, teacher_samples, student_samples):
        return pseudo_map.flip(3), weight.flip(3)


def test_weight_step_of_ones_own_by_hand():
    found, p = semi_loss([dict(type='ConfidenceWeight')])
    rows = [(0.02, 0.96, slice(0, 4)), (0.1, 0.8, slice(4, 8)), (0.9, 0.8, slice(8, 12))]
    total = sum(
        w * (y * (y / p[:, :, r]).log() + (1 - y) * ((1 - y) / (1 - p[:, :, r])).log()).sum().item()
        for y, w, r in rows
    )
    expected = total / (64 * (0.96 + 0.8 + 0.8))
    assert found['loss_semi'].item() == pytest.approx(expected, rel=1e-4)


def test_warp_step_of_ones_own_takes_the_weight_along():
    model = build(
        semi_cfg(
            pseudo_pipeline=[
                dict(type='DynamicSharpening', low=0.05),
                dict(type='MirrorToStudent'),
            ]
        )
    ).eval()
    teacher, student = views([[-1.0, 0, 64], [0, 1, 0], [0, 0, 1]], size=64)
    prob_map = torch.full((1, 1, 16, 16), 0.5)
    prob_map[:, :, :, :3] = 0.1  # uncertain, and at the left
    pseudo_map, weight = model.project_pseudo_maps(prob_map, teacher, student)
    expected = torch.ones(1, 1, 16, 16)
    expected[:, :, :, 13:] = 0
    assert torch.equal(weight, expected)
    reference = model.pseudo_pipeline[0](prob_map, expected, teacher, student)[0].flip(3)
    assert torch.equal(pseudo_map, reference)


def test_another_view_needs_a_step_that_moves_the_maps():
    model = build(semi_cfg(pseudo_pipeline=[dict(type='ConfidenceWeight')]))
    prob_map = torch.full((1, 1, 16, 16), 0.5)
    same = views(np.eye(3), size=64)
    model.project_pseudo_maps(prob_map, *same)
    mirrored = views([[-1.0, 0, 64], [0, 1, 0], [0, 0, 1]], size=64)
    with pytest.raises(ValueError, match=r'another view than the teacher.*WarpToStudent'):
        model.project_pseudo_maps(prob_map, *mirrored)


@MODELS.register_module(force=True)
class OldStep(nn.Module):
    def forward(self, pseudo_map, teacher_samples, student_samples):
        return pseudo_map


@MODELS.register_module(force=True)
class MapAlone(nn.Module):
    def forward(self, pseudo_map, weight, teacher_samples, student_samples):
        return pseudo_map


@MODELS.register_module(force=True)
class OtherShape(MapAlone):
    def forward(self, pseudo_map, weight, teacher_samples, student_samples):
        return pseudo_map, weight[:, :, 1:]


def test_what_is_no_step_is_named():
    with pytest.raises(ValueError, match='OldStep is no step of a pseudo-label pipeline'):
        build(semi_cfg(pseudo_pipeline=[dict(type='OldStep')]))
    for name, what in (('MapAlone', 'a Tensor'), ('OtherShape', r'\(1, 1, 15, 16\)')):
        model = build(semi_cfg(pseudo_pipeline=[dict(type=name)]))
        with pytest.raises(ValueError, match=f'{name} must return .pseudo_map, weight.*{what}'):
            model.project_pseudo_maps(torch.zeros(1, 1, 16, 16), [], [])


@MODELS.register_module(force=True)
class ToldNothing(ConfidenceWeight):
    def note_target(self, targets):
        raise AssertionError


@MODELS.register_module(force=True)
class ToldMore(ConfidenceWeight):
    def attach(self, student, teacher):
        raise AssertionError


@MODELS.register_module(force=True)
class Heir(ToldNothing):
    """Inherits the misspelt one."""


def test_what_a_step_would_not_be_told_is_an_error():
    for name in ('ToldNothing', 'Heir'):
        with pytest.raises(
            TypeError, match=r"ToldNothing.note_target is never called.*'note_targets'"
        ):
            build(semi_cfg(pseudo_pipeline=[dict(type=name)]))
    with pytest.raises(TypeError, match=r'ToldMore.attach is called as attach\(self, student'):
        build(semi_cfg(pseudo_pipeline=[dict(type='ToldMore')]))


def test_several_semi_losses_are_added():
    pipeline = [dict(type='ConfidenceWeight')]
    kld, _ = semi_loss(pipeline)
    mse, _ = semi_loss(pipeline, semi_loss=dict(type='MapMSELoss'))
    losses = [dict(type='KLDLoss', loss_weight=2.0), dict(type='MapMSELoss', loss_weight=0.5)]
    both, _ = semi_loss(pipeline, semi_loss=losses, semi_train_cfg=dict(unsup_weight=3.0))
    terms = [6 * kld['loss_semi'].item(), 1.5 * mse['loss_semi'].item()]
    assert both['loss_semi'].item() == pytest.approx(sum(terms), rel=1e-5)
    found = [both[f'semi_term_{index}'].item() for index in range(2)]
    assert found == pytest.approx(terms, rel=1e-5)
    assert sum('loss' in name for name in both) == 2  # L_sup and L_semi are the objective
    with pytest.raises(ValueError, match='at least one'):
        build(semi_cfg(semi_loss=[]))


def test_views_of_different_input_size():
    # the student's input is twice as large: so is its map
    teacher, student = views([[2.0, 0, 0], [0, 2, 0], [0, 0, 1]], size=64)
    student[0].set_metainfo(dict(batch_input_shape=(128, 128)))
    prob_map = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    warped, weight = WarpToStudent()(prob_map, torch.ones_like(prob_map), teacher, student)
    assert warped.shape == weight.shape == (1, 1, 32, 32)
    expected = warp_map(prob_map, np.diag([2.0, 2, 1])[None], (32, 32))
    torch.testing.assert_close(warped, expected)


def test_stride_of_the_map_is_that_of_its_size():
    teacher, student = views([[-1.0, 0, 64], [0, 1, 0], [0, 0, 1]], size=64)
    for cells in (8, 16, 32):
        prob_map = torch.rand(1, 1, cells, cells)
        warped, _ = WarpToStudent()(prob_map, torch.ones_like(prob_map), teacher, student)
        torch.testing.assert_close(warped, prob_map.flip(3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r'WarpToStudent\(stride=4\).* 2 x 2 input px'):
        WarpToStudent(stride=4)(prob_map, torch.ones_like(prob_map), teacher, student)


@pytest.mark.parametrize('low', [0, 0.2, 0.5, -0.1])
def test_low_must_be_below_every_t(low):
    with pytest.raises(ValueError, match=f'low must lie in .* got {low}'):
        DynamicSharpening(low=low)
