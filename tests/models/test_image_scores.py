# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch

from mmfrac.datasets.transforms.targets import ProbMapTarget
from mmfrac.models.heads.prob_map_head import image_cells
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


@pytest.mark.parametrize(('ignored', 'expected'), [((), 0.75), (([8, 0, 16, 8],), 0.25)])
def test_a_cell_at_the_border_counts_as_in_pred_score_but_in_an_ignored_box(ignored, expected):
    # of its last column the film has one px
    sample = film('a', size=16)['data_samples']
    sample.set_metainfo(dict(ori_shape=(8, 13)))
    boxes = [dict(bbox=box, ignore_flag=1) for box in ignored]
    target = ProbMapTarget().transform(dict(img_shape=(16, 16), ori_shape=(8, 13), instances=boxes))
    sample.gt_prob_map.valid = torch.from_numpy(target['valid_map'])[None]
    rows, columns = image_cells(sample, 4)
    prob_map = torch.zeros(1, 1, 4, 4)
    prob_map[0, 0, 0, 0], prob_map[0, 0, 0, 3], prob_map[0, 0, 2, 3] = 0.25, 0.75, 0.875
    assert prob_map[0, 0, :rows, :columns].max() == 0.75
    assert image_scores(prob_map, [sample]).tolist() == [expected]
