# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch

from mmfrac.models.postprocess import image_scores
from tests.models.small_model import film


def test_padding_does_not_count():
    samples = [
        film(name)['data_samples'] for name in 'ab'
    ]  # 16 x 16 cells, the last 4 rows padding
    maps = torch.zeros(2, 1, 16, 16)
    maps[0, 0, 3, 5], maps[0, 0, 13, 5], maps[1, 0, 11, 0] = 0.25, 0.75, 0.5
    assert image_scores(maps, samples).tolist() == [0.25, 0.5]
    assert image_scores(maps, []).tolist() == [0.75, 0.5]
