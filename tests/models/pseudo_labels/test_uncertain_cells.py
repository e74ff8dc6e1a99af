# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy

import numpy as np
import pytest
import torch

from mmfrac.models.pseudo_labels import DynamicSharpening, WarpToStudent, uncertain_cells
from tests.models.small_model import build, film, semi_batch, semi_cfg

# at the ends of the band: low itself is normal, t itself is uncertain
CELLS = torch.tensor([[[[0.04, 0.05, 0.06], [0.29, 0.3, 0.31]]]])
BAND = torch.tensor([[[[False, False, True], [True, True, False]]]])


def step(low=0.05, m=0.4):
    sharpening = DynamicSharpening(quantile=0.1, low=low)
    sharpening.set_m(m)  # t = 0.3
    return sharpening


def test_cells_between_low_and_t_by_hand():
    assert torch.equal(step().is_uncertain(CELLS), BAND)
    assert step().leaves_cells_out and not step(low=None).leaves_cells_out


def test_t_in_force_bounds_the_band():
    # t = 0.2, then 0.5
    assert step(m=0.0).is_uncertain(CELLS).sum() == 1
    assert step(m=0.9).is_uncertain(CELLS).sum() == 4


def test_band_follows_the_students_view():
    teacher, student = (copy.deepcopy(film('a', size=12)['data_samples']) for _ in range(2))
    mirrored = np.array([[-1.0, 0, 12], [0, 1, 0], [0, 0, 1]])
    student.set_metainfo(dict(homography_matrix=mirrored))
    pipeline = [step(), WarpToStudent()]
    found = uncertain_cells(pipeline, CELLS, [teacher], [student])
    assert torch.equal(found, BAND.flip(3))


def test_steps_without_a_band_leave_nothing_out():
    samples = [film('a', size=12)['data_samples']]
    assert uncertain_cells([step(low=None), WarpToStudent()], CELLS, samples, samples) is None
    assert uncertain_cells([], CELLS, samples, samples) is None


def test_cells_that_any_step_leaves_out_are_left_out():
    found = uncertain_cells([step(m=0.0), step(low=None), step(low=0.1)], CELLS, [], [])
    # 0.06 by the first, 0.29 and 0.3 by the second
    assert torch.equal(found, BAND)


def test_semi_loss_does_not_count_uncertain_cells():
    class Map(torch.nn.Module):
        """0.02, 0.1 and 0.9 in rows 0 to 3, 4 to 7 and 8 to 11 of the film."""

        def forward(self, student, inputs, samples):
            prob_map = torch.full((len(inputs), 1, 16, 16), 0.02)
            prob_map[:, :, 4:8], prob_map[:, :, 8:12] = 0.1, 0.9
            return prob_map

    def semi(low):
        sharpening = dict(type='DynamicSharpening', low=low)
        model = build(semi_cfg(pseudo_pipeline=[sharpening, dict(type='WarpToStudent')])).eval()
        model.teacher = Map()
        data = semi_batch([film('a', boxes=[(8, 8, 24, 24)])], [film('c', regions=False)])
        data = model.data_preprocessor(data, training=True)
        logits = model.student.logits(data['inputs']['unsup_student'])
        return model(**data, mode='loss')['loss_semi'], logits.sigmoid().double()

    found, p = semi(0.05)
    # DS with t = 0.2, a = 6
    low, high = 0.02**6 / 0.2**5, 0.2 + 0.8 * (0.7 / 0.8) ** (1 / 6)
    cells = [
        y * (y / p[:, :, rows]).log() + (1 - y) * ((1 - y) / (1 - p[:, :, rows])).log()
        for y, rows in ((low, slice(0, 4)), (high, slice(8, 12)))
    ]
    assert found.item() == pytest.approx(torch.cat(cells).mean().item(), rel=1e-4)
    assert semi(None)[0].item() != pytest.approx(found.item(), rel=1e-2)


@pytest.mark.parametrize('low', [0, 0.2, 0.5, -0.1])
def test_low_must_be_below_every_t(low):
    with pytest.raises(ValueError, match=f'low must lie in .* got {low}'):
        DynamicSharpening(low=low)
