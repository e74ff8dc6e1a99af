# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy

import numpy as np
import pytest
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData

from mmfrac.apis import FracInferencer
from mmfrac.engine.runner.ensemble import (
    build_ensemble,
    ensemble_checkpoint,
    ensemble_config,
    write_ensemble,
)
from mmfrac.models import merged_scores
from mmfrac.models.detectors.ensemble_detector import EnsembleDetector
from tests.configs.test_configs import tiny_config
from tests.models.small_model import PREPROCESSOR, build, detector_cfg, film, semi_cfg


def predicted(values, score=None, scale=(4.0, 4.0)) -> DetDataSample:
    """What a detector predicts of a film of 12 x 8 px."""
    prob_map = torch.tensor([values], dtype=torch.float32)
    sample = DetDataSample(metainfo=dict(img_path='a.png', ori_shape=(8, 12), map_scale=scale))
    sample.pred_prob_map = PixelData(data=prob_map)
    sample.pred_score = prob_map.amax() if score is None else torch.tensor(score)
    return sample


def ensemble_of(num_detectors=2, **options) -> EnsembleDetector:
    detector = detector_cfg()
    del detector['data_preprocessor']
    config = dict(type='EnsembleDetector', detectors=[detector] * num_detectors)
    return build(config | dict(data_preprocessor=PREPROCESSOR) | options).eval()


def test_mean_of_two_known_maps():
    one = predicted([[0.2, 0.9, 0.0], [0.0, 0.1, 0.5]])
    two = predicted([[0.4, 0.1, 0.0], [0.0, 0.1, 0.9]])
    (film,) = ensemble_of(test_cfg=dict(component_thr=0.6)).combine([[one], [two]])
    expected = torch.tensor([[[0.3, 0.5, 0.0], [0.0, 0.1, 0.7]]])
    torch.testing.assert_close(film.pred_prob_map.data, expected)
    assert film.pred_score == film.pred_prob_map.data.max()  # not the mean of 0.9 and 0.9
    assert film.pred_instances.bboxes.tolist() == [[8, 4, 12, 8]]
    assert film.pred_instances.scores.tolist() == pytest.approx([0.7])
    assert film.map_scale == (4.0, 4.0) and film.img_path == 'a.png'
    assert one.pred_score == pytest.approx(0.9)


def test_scores_that_are_no_maximum_are_averaged():
    films = [[predicted([[0.2, 0.4, 0.3]], score)] for score in (0.5, 0.8)]
    (film,) = ensemble_of(image_score='mean').combine(films)
    assert film.pred_score.item() == pytest.approx(0.65)
    assert not ensemble_of(image_score='mean').image_score_is_map_maximum
    assert ensemble_of(image_score='maximum').image_score_is_map_maximum


class Undeclared(BaseDetector):
    """Says nothing of its image scores."""

    extract_feat = loss = predict = _forward = None


class OfInstances(Undeclared):
    """Says it of each instance, not by its class."""

    def __init__(self, is_maximum, **options):
        super().__init__(**options)
        self.image_score_is_map_maximum = is_maximum


@pytest.mark.parametrize(
    ('options', 'expected', 'warnings'),
    [
        (dict(type=Undeclared), (0.6, 0.7), 1),
        (dict(type=OfInstances, is_maximum=True), (0.6, 0.6), 0),
        (dict(type=OfInstances, is_maximum=False), (0.75, 0.7), 0),
    ],
)
def test_a_detector_whose_class_does_not_say_what_its_score_is(
    options, expected, warnings, monkeypatch
):
    """As test-time augmentation has it: by the scores of a film, and with its warning."""
    said = []
    monkeypatch.setattr(merged_scores, 'print_log', lambda text, **_: said.append(text))
    cfg = ensemble_config(Config(dict(model=dict(options, data_preprocessor=PREPROCESSOR))), 2)
    ensemble = build(cfg.model)
    assert len(said) == warnings
    assert all(text.startswith('Undeclared has no image_score_is_map_maximum: ') for text in said)
    for scores, score in zip(((None, None), (0.5, 0.9)), expected):
        members = [[predicted([[0.2, 0.5]], scores[0])], [predicted([[1.0, 0.3]], scores[1])]]
        assert ensemble.combine(members)[0].pred_score.item() == pytest.approx(score)


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (predicted([[0.1, 0.2]]), 'its maps are'),
        (predicted([[0.1, 0.2, 0.3]], scale=(4.0, 2.0)), 'its maps are'),
        (DetDataSample(metainfo=dict(img_path='a.png')), 'predicts no prob map'),
    ],
)
def test_what_does_not_fit_is_refused(other, message):
    with pytest.raises(ValueError, match=rf'film a\.png: .*{message}'):
        ensemble_of().combine([[predicted([[0.1, 0.2, 0.3]])], [other]])


def test_options_are_checked():
    with pytest.raises(ValueError, match='one detector at least'):
        ensemble_of(0)
    with pytest.raises(ValueError, match='image_score'):
        ensemble_of(image_score='median')
    with pytest.raises(ValueError, match='not trained'):
        ensemble_of().loss(None, None)


def test_mean_of_two_networks():
    ensemble = ensemble_of()
    for seed, detector in enumerate(ensemble.detectors):
        torch.manual_seed(seed)
        for parameter in detector.parameters():
            parameter.data.normal_(0, 0.1)
    films = [film('a'), film('b')]
    batch = dict(
        inputs=[one['inputs'] for one in films],
        data_samples=[one['data_samples'] for one in films],
    )
    maps = []
    for detector in ensemble.detectors:
        alone = copy.deepcopy(detector)
        alone.data_preprocessor = MODELS.build(PREPROCESSOR)
        results = alone.test_step(copy.deepcopy(batch))
        maps.append([result.pred_prob_map.data for result in results])
    combined = ensemble.test_step(batch)
    for index, result in enumerate(combined):
        by_hand = (maps[0][index].double() + maps[1][index].double()) / 2
        assert result.pred_prob_map.data.shape == (1, 12, 16)  # padding off
        assert (result.pred_prob_map.data - by_hand).abs().max() < 1e-6
        assert (maps[0][index] - maps[1][index]).abs().max() > 1e-3
        assert result.pred_score == result.pred_prob_map.data.max()
    assert len(ensemble(torch.zeros(1, 3, 64, 64), mode='tensor')) == 2


@pytest.fixture
def two_checkpoints(tmp_path):
    """Of a teacher-student model, the second with another bias."""
    paths = []
    for seed in range(2):
        model = build(semi_cfg())
        for name, parameter in model.student.named_parameters():
            if name.endswith('bias'):
                parameter.data += seed
        paths.append(tmp_path / f'{seed}.pth')
        torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), paths[-1])
    return paths


def test_students_of_checkpoints(two_checkpoints):
    cfg = Config(dict(model=semi_cfg(), default_scope='mmdet'))
    ensemble = build_ensemble(cfg, two_checkpoints)
    assert not ensemble.training and len(ensemble.detectors) == 2
    loaded = [torch.load(path, weights_only=True)['state_dict'] for path in two_checkpoints]
    for detector, state in zip(ensemble.detectors, loaded):
        for name, value in detector.state_dict().items():
            assert value.equal(state[f'student.{name}']), name
    merged = ensemble_checkpoint([dict(state_dict=state) for state in loaded])['state_dict']
    assert set(merged) == set(ensemble.state_dict())

    torch.save(dict(state_dict={'head.weight': torch.zeros(2)}), two_checkpoints[1])
    with pytest.raises(ValueError, match=r'1\.pth is a checkpoint of another model'):
        build_ensemble(cfg, two_checkpoints)


def test_test_and_inference_tools_take_it(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    torch.manual_seed(0)
    paths = []
    for index in range(2):
        model = MODELS.build(cfg.model)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.1)
        paths.append(tmp_path / f'{index}.pth')
        torch.save(dict(state_dict=model.state_dict()), paths[-1])
    written = write_ensemble(cfg, paths, tmp_path / 'ensemble')
    assert [path.name for path in written] == ['ensemble.py', 'ensemble.pth']

    config, checkpoint = written
    test_cfg = Config.fromfile(config)
    test_cfg.load_from = str(checkpoint)
    metrics = Runner.from_cfg(test_cfg).test()
    assert {'frac/AUROC', 'frac/FROC'} <= set(metrics)

    plane = np.random.default_rng(0).random((64, 48), np.float32)
    maps = []
    for model, weights in ((cfg, paths[0]), (cfg, paths[1]), (test_cfg, checkpoint)):
        inferencer = FracInferencer(model, weights, device='cpu')
        prepared = inferencer.prepare(inferencer._load(plane, 'a'))
        maps.append(inferencer._forward([prepared])[0].pred_prob_map.data)
    torch.testing.assert_close(maps[2], (maps[0] + maps[1]) / 2)
    assert not torch.allclose(maps[0], maps[1], atol=1e-3)


def test_the_config_keeps_what_tests_alone(tiny_data, tmp_path):
    cfg = tiny_config('frac_sup.py', tiny_data, tmp_path)
    changed = ensemble_config(cfg, 3)
    assert len(changed.model.detectors) == 3 and changed.model.image_score == 'maximum'
    assert changed.model.data_preprocessor == cfg.model.data_preprocessor
    assert all('data_preprocessor' not in detector for detector in changed.model.detectors)
    assert changed.train_dataloader is None and changed.test_dataloader == cfg.test_dataloader
    assert cfg.model.type == 'ProbMapDetector' and cfg.train_dataloader is not None


def test_image_scores_of_classifiers_are_averaged(repository):
    cfg = Config.fromfile(repository / 'configs/baselines/chexnet_cam.py')
    init_default_scope('mmdet')
    assert ensemble_config(cfg, 2).model.image_score == 'mean'
