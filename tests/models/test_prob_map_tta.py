# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import nn

from mmfrac.models.tta import merge_views
from mmfrac.utils.config import set_img_scale
from tests.models.small_model import build, detector_cfg, semi_cfg

STRIDE = 4
TEST_CFG = dict(component_thr=0.2, max_per_img=100)


def view(field, film=(50, 77), factor=1.0, flip=None, flip_first=True, score=None):
    """A prediction that samples ``field(x, y)`` of the film at the centres of a view's cells."""
    height, width = film
    size = (round(height * factor), round(width * factor))
    fy, fx = size[0] / height, size[1] / width
    shape = tuple(-(-side // STRIDE) for side in size)
    x = (np.arange(shape[1]) + 0.5) * STRIDE / fx
    y = (np.arange(shape[0]) + 0.5)[:, None] * STRIDE / fy
    mirror = np.eye(3)
    if flip in ('horizontal', 'diagonal'):
        x, mirror[0] = width - x, [-1, 0, width if flip_first else 2 * width]
    if flip in ('vertical', 'diagonal'):
        y, mirror[1] = height - y, [0, -1, height]
    sample = DetDataSample(
        metainfo=dict(
            img_path='film',
            ori_shape=film,
            img_shape=size,
            scale_factor=(fx, fy),
            flip=flip is not None,
            flip_direction=flip,
            homography_matrix=np.diag([fx, fy, 1]) @ mirror,
            map_scale=(STRIDE / fx, STRIDE / fy),
        )
    )
    values = np.broadcast_to(field(x, y), shape).astype(np.float32)
    sample.pred_prob_map = PixelData(data=torch.from_numpy(values.copy())[None])
    sample.pred_score = values.max().item() if score is None else score
    return sample


def ramp(x, y):
    return 0.1 + x / 200 + y / 400


@pytest.mark.parametrize('flip', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('factor', [1.0, 1.25, 1.6])
def test_views_of_one_field_agree_where_the_film_is_no_whole_number_of_cells(flip, factor):
    # bilinear interpolation is exact on a ramp, so every view must give it back
    plain = view(ramp).pred_prob_map.data.clone()
    merged = merge_views([view(ramp), view(ramp, factor=factor, flip=flip)], TEST_CFG)
    inner = merged.pred_prob_map.data[..., 1:-1, 1:-1]
    assert torch.allclose(inner, plain[..., 1:-1, 1:-1], atol=1e-5)
    # cells that reach over the edge of the film take the nearest cell of the other view
    assert torch.allclose(merged.pred_prob_map.data, plain, atol=0.05)
    assert merged.map_scale == (4, 4) and not merged.flip


def test_flip_of_whole_cells_is_the_flip_of_the_map():
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.random((2, 1, 12, 20)).astype(np.float32))
    views = [view(ramp, (48, 80)), view(ramp, (48, 80), flip='horizontal')]
    for one, prob_map in zip(views, maps):
        one.pred_prob_map = PixelData(data=prob_map)
        one.pred_score = prob_map.amax()
    merged = merge_views(views, TEST_CFG)
    expected = (maps[0] + maps[1].flip(-1)) / 2
    assert torch.allclose(merged.pred_prob_map.data, expected, atol=1e-6)
    assert merged.pred_score == merged.pred_prob_map.data.amax()


def test_boxes_and_score_are_those_of_the_mean_map():
    def spot(x, y):
        return 0.9 * ((abs(x - 30) < 6) & (abs(y - 22) < 6))

    def other(x, y):
        return 0.3 * ((abs(x - 70) < 4) & (abs(y - 10) < 4))

    film = (48, 80)
    merged = merge_views([view(spot, film), view(other, film, flip='horizontal')], TEST_CFG)
    assert merged.pred_score == pytest.approx(0.45)
    # 0.15 of the other view is below the threshold of 0.2
    assert merged.pred_instances.bboxes.tolist() == [[24, 16, 36, 28]]
    assert merged.pred_instances.scores.tolist() == pytest.approx([0.45])


def test_score_that_is_not_the_maximum_of_the_map_is_averaged():
    merged = merge_views([view(ramp, score=0.2), view(ramp, score=0.6)], TEST_CFG)
    assert merged.pred_score == pytest.approx(0.4)


def test_other_views_and_models_are_refused():
    padded_first = view(ramp, flip='horizontal', flip_first=False)
    with pytest.raises(ValueError, match='before Pad'):
        merge_views([view(ramp), padded_first], TEST_CFG)
    boxes_only = view(ramp)
    del boxes_only.pred_prob_map
    with pytest.raises(ValueError, match='DetTTAModel'):
        merge_views([boxes_only], TEST_CFG)


@pytest.mark.parametrize('semi', [False, True])
def test_configured_views_of_a_mirrored_film_give_the_mirrored_map(semi, repository, tmp_path):
    cfg = Config.fromfile(repository / 'configs/frac_sup.py')
    set_img_scale(cfg._cfg_dict, (128, 128))
    scales = [resize.scale for resize in cfg.tta_pipeline[1].transforms[0]]
    assert scales == [(128, 128), (160, 160)]
    init_default_scope('mmdet')
    detector = build(semi_cfg() if semi else detector_cfg())
    nn.init.normal_(getattr(detector, 'student', detector).prob_map_head.logit_conv.weight)
    model = MODELS.build(dict(cfg.tta_model, module=detector)).eval()
    pipeline = Compose(cfg.tta_pipeline)
    film = np.random.default_rng(1).integers(0, 4096, (96, 128)).astype(np.uint16)
    maps = []
    for name, pixels in (('film.png', film), ('mirrored.png', film[:, ::-1])):
        cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(pixels))
        batch = pseudo_collate([pipeline(dict(img_path=str(tmp_path / name)))])
        assert len(batch['inputs']) == 4
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        assert tuple(sample.pred_prob_map.data.shape) == (1, 24, 32)
        maps.append(sample.pred_prob_map.data)
    assert maps[0].std() > 0.01
    assert torch.allclose(maps[0], maps[1].flip(-1), atol=1e-5)
