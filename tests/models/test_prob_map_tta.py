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
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import nn

from mmfrac.models import merged_scores, tta
from mmfrac.models.tta import merge_views
from mmfrac.utils.config import set_img_scale
from tests.models.small_model import build, detector_cfg, semi_cfg

STRIDE = 4
TEST_CFG = dict(component_thr=0.2, max_per_img=100)
CAM = dict(
    type='CAMClassifier',
    data_preprocessor=detector_cfg()['data_preprocessor'],
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    in_channels=64,
)


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
    merged = merge_views([view(ramp, score=0.2), view(ramp, score=0.6)], TEST_CFG, False)
    assert merged.pred_score == pytest.approx(0.4)


def spot_in(row, column, value=0.8, score=None):
    sample = view(lambda x, y: 0 * x + 0 * y, (48, 80), score=score)
    sample.pred_prob_map.data[0, row, column] = value
    sample.pred_score = torch.tensor(value if score is None else score)
    return sample


def test_scores_of_all_films_of_a_detector_are_merged_by_one_rule():
    # of the first film the scores happen to be the maxima, whose mean is 0.8; that of the map is 0.4
    films = [
        lambda: [spot_in(0, 0), spot_in(5, 5)],
        lambda: [spot_in(0, 0, score=0.5), spot_in(5, 5, score=0.25)],
    ]
    model = MODELS.build(dict(type='ProbMapTTAModel', module=build(CAM)))
    merged = model.merge_preds([make() for make in films])
    assert [film.pred_score.item() for film in merged] == pytest.approx([0.8, 0.375])
    model = MODELS.build(dict(type='ProbMapTTAModel', module=build(detector_cfg())))
    (merged,) = model.merge_preds([films[0]()])
    assert merged.pred_score.item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match=r'of film is not the maximum.*map_maximum = False'):
        model.merge_preds([films[1]()])


@pytest.mark.parametrize(
    'score_of',
    [
        lambda prob_map: prob_map.amax(),
        lambda prob_map: prob_map.amax(dim=(1, 2)),
        lambda prob_map: prob_map.max().item(),
        lambda prob_map: prob_map.amax().half(),
        lambda prob_map: prob_map.amax().bfloat16(),
    ],
)
def test_the_maximum_of_a_map_in_any_shape_and_precision(score_of):
    # 0.8 is 0.7998 in half precision and 0.8008 in bfloat16
    views = [spot_in(0, 0), spot_in(5, 5, 0.4)]
    for one in views:
        one.pred_score = score_of(one.pred_prob_map.data)
    merged = merge_views(views, TEST_CFG, True)
    assert merged.pred_score.shape == () and merged.pred_score.item() == pytest.approx(0.4)


@pytest.mark.parametrize(('dtype', 'far'), [(torch.float16, 0.79), (torch.bfloat16, 0.78)])
def test_rounding_is_no_other_score(dtype, far):
    for score, fits in ((0.8, True), (far, False)):
        sample = spot_in(0, 0, score=score)
        sample.pred_prob_map.data = sample.pred_prob_map.data.to(dtype)
        if fits:
            merge_views([sample], TEST_CFG, True)
        else:
            with pytest.raises(ValueError, match='is not the maximum of its map'):
                merge_views([sample], TEST_CFG, True)


class Undeclared(BaseModel):
    test_cfg = TEST_CFG

    def forward(self, inputs):
        raise NotImplementedError


def test_a_detector_that_does_not_say_what_its_score_is(monkeypatch):
    said = []
    monkeypatch.setattr(merged_scores, 'print_log', lambda text, **_: said.append(text))
    model = tta.ProbMapTTAModel(Undeclared())
    for scores, expected in (((None, None), 0.4), ((0.5, 0.25), 0.375), ((0.8, 0.25), 0.525)):
        views = [spot_in(0, 0, score=scores[0]), spot_in(5, 5, score=scores[1])]
        (merged,) = model.merge_preds([views])
        assert merged.pred_score.item() == pytest.approx(expected)
    assert len(said) == 1 and 'image_score_is_map_maximum' in said[0]


def test_a_view_with_nan_is_left_to_the_metric():
    assert merge_views([spot_in(0, 0, float('nan'))], TEST_CFG).pred_score.isnan()


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
