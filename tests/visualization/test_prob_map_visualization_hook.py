# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

import mmfrac.evaluation.metrics.frac_metric  # noqa: F401
from mmfrac.visualization import prob_map_visualization_hook as module
from mmfrac.visualization.overlay import FALSE_MAGENTA, FOUND_WHITE, GT_GREEN
from mmfrac.visualization.prob_map_visualization_hook import (
    ProbMapVisualizationHook,
    overlay_of_sample,
)
from tests.models.small_model import detector_cfg


class Pictures:
    """Stands for the visualizer: remembers what it is given."""

    def __init__(self):
        self.added = {}
        self.shown = []

    def add_image(self, name, image, step=0):
        self.added[name, step] = image

    def show(self, image, win_name, wait_time):
        self.shown.append((win_name, wait_time))


@pytest.fixture
def runner(tmp_path):
    return SimpleNamespace(
        work_dir=str(tmp_path / 'work'),
        timestamp='20240101_000000',
        visualizer=Pictures(),
        _train_loop=None,
        model=SimpleNamespace(),
    )


def film(path: Path, name: str, label: int, **meta) -> DetDataSample:
    """A film of 40 x 80 px on disk, evaluated: a map of 8 px wide and 4 px high cells, hot at (3, 2)."""
    file = path / f'{name}.png'
    cv2.imwrite(str(file), np.full((40, 80), 100, np.uint8))
    instances = [dict(bbox=[16, 8, 32, 20], bbox_label=0, ignore_flag=0)] if label else []
    sample = DetDataSample(
        metainfo=dict(
            img_path=str(file), label=label, instances=instances, map_scale=(8.0, 4.0), **meta
        )
    )
    prob_map = torch.zeros(1, 10, 10)
    prob_map[0, 3, 2:4] = 0.8
    sample.pred_prob_map = PixelData(data=prob_map)
    return sample


def evaluate(hook, runner, batches, mode='test'):
    getattr(hook, f'before_{mode}_epoch')(runner)
    for index, batch in enumerate(batches):
        getattr(hook, f'after_{mode}_iter')(runner, index, None, batch)
    getattr(hook, f'after_{mode}_epoch')(runner, {})
    return [name for name, _ in runner.visualizer.added]


def colour(picture, rgb):
    return (picture == np.array(rgb, np.uint8)).all(axis=2)


def test_show_dir_of_a_real_test_run(tiny_data, tmp_path):
    dataset = dict(
        type='CXRDataset',
        data_root=str(tiny_data),
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadRadiograph'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(128, 128), keep_ratio=True),
            dict(type='Pad', size=(128, 128)),
            dict(type='PackProbMapInputs'),
        ],
    )
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=detector_cfg(),
            work_dir=str(tmp_path),
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dataset,
            ),
            test_evaluator=dict(type='FracMetric'),
            test_cfg=dict(type='TestLoop'),
            default_hooks=dict(
                visualization=dict(type='ProbMapVisualizationHook', max_films=3),
                runtime_info=None,
            ),
            visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
            experiment_name=tmp_path.name,
        )
    )
    args = Namespace(show=False, wait_time=0, show_dir='overlays')
    runner = Runner.from_cfg(trigger_visualization_hook(cfg, args))
    metrics = runner.test()
    assert 'frac/AUROC' in metrics
    # the two films with fractures, then the first one without
    expected = {'test_0.png', 'test_1.png', 'test_2.png'}
    folder = tmp_path / runner.timestamp / 'overlays'
    assert {path.name for path in folder.glob('[!.]*')} == expected
    images = tmp_path / runner.timestamp / 'vis_data' / 'vis_image'
    assert {path.name for path in images.iterdir()} == {f'test_test_{i}_0.png' for i in range(3)}
    content = json.loads((tiny_data / 'annotations' / 'test.json').read_text())
    x, y, width, height = content['annotations'][0]['bbox']
    picture = cv2.imread(str(folder / 'test_0.png'))[..., ::-1]
    assert picture.shape == (1024, 768, 3)
    # untrained, so the lesion is missed and dashed; 16 px of the overlay are one of the film
    green = colour(picture, GT_GREEN)
    assert green[16 * y, 16 * x] and not green[: 16 * y].any() and not green[:, : 16 * x].any()
    assert green[: 16 * (y + height), : 16 * (x + width)][16 * y].mean() > 0.05
    assert not colour(cv2.imread(str(folder / 'test_2.png'))[..., ::-1], GT_GREEN).any()


def test_films_with_fracture_are_preferred_and_the_number_is_kept(runner, tmp_path):
    films = [film(tmp_path, f'f{i}', label=i in (3, 5)) for i in range(7)]
    batches = [films[:2], films[2:4], films[4:6], films[6:]]
    hook = ProbMapVisualizationHook(draw=True, max_films=4, size=None)
    assert evaluate(hook, runner, batches) == ['test_f3', 'test_f5', 'test_f0', 'test_f1']
    runner.visualizer = Pictures()
    # a second evaluation begins anew
    assert len(evaluate(hook, runner, batches)) == 4
    runner.visualizer = Pictures()
    hook = ProbMapVisualizationHook(draw=True, max_films=1)
    assert evaluate(hook, runner, batches) == ['test_f3']
    runner.visualizer = Pictures()
    hook = ProbMapVisualizationHook(draw=True, max_films=None, interval=3)
    assert evaluate(hook, runner, batches) == ['test_f0', 'test_f3', 'test_f6']


def test_nothing_is_drawn_unless_asked_for_or_on_other_ranks(runner, tmp_path, monkeypatch):
    batches = [[film(tmp_path, 'f', 1)]]
    assert evaluate(ProbMapVisualizationHook(), runner, batches) == []
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    assert evaluate(ProbMapVisualizationHook(draw=True), runner, batches) == []


def test_validation_goes_to_the_back_ends_under_its_epoch(runner, tmp_path):
    runner._train_loop, runner.epoch = object(), 7
    hook = ProbMapVisualizationHook(draw=True, test_out_dir='out', show=True, wait_time=0.5)
    evaluate(hook, runner, [[film(tmp_path, 'f', 1)]], mode='val')
    assert list(runner.visualizer.added) == [('val_f', 7)]
    assert runner.visualizer.shown == [('f', 0.5)]
    assert not Path(runner.work_dir).exists()


def test_absolute_out_dir_and_films_of_the_same_name(runner, tmp_path):
    films = []
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        films.append(film(tmp_path / folder, 'same', 1))
    hook = ProbMapVisualizationHook(draw=True, test_out_dir=str(tmp_path / 'out'))
    for _ in range(2):
        evaluate(hook, runner, [films])
    assert {path.name for path in (tmp_path / 'out').glob('[!.]*')} == {'same.png', 'same_2.png'}


def test_film_that_is_gone_does_not_end_the_evaluation(runner, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, **_: said.append(text))
    films = [film(tmp_path, name, 1) for name in ('gone', 'broken', 'good')]
    Path(films[0].img_path).unlink()
    Path(films[1].img_path).write_bytes(b'\x89PNG\r\n\x1a\n damaged')
    assert evaluate(ProbMapVisualizationHook(draw=True), runner, [films]) == ['test_good']
    assert len(said) == 1 and 'gone.png' in said[0]


def test_overlay_shows_the_map_at_the_operating_threshold(tmp_path):
    plane = np.full((40, 80), 0.4, np.float32)
    sample = film(tmp_path, 'f', 1)
    # the cells (3, 2) and (3, 3) are x 16..32, y 12..16; the lesion's midpoint (24, 14) is in (3, 3)
    found = overlay_of_sample(plane, sample, size=None)
    white, green = colour(found, FOUND_WHITE), colour(found, GT_GREEN)
    assert white[12, 18:32].all() and white[15, 18:32].all()
    assert green[19, 16:32].all() and not colour(found, FALSE_MAGENTA).any()
    higher = overlay_of_sample(plane, sample, score_thr=0.9, size=None)
    assert not colour(higher, FOUND_WHITE).any() and not colour(higher, GT_GREEN)[19, 16:32].all()
    sample.set_metainfo(dict(instances=[], label=0))
    false = overlay_of_sample(plane, sample, size=None)
    assert colour(false, FALSE_MAGENTA).any() and not colour(false, FOUND_WHITE).any()
    # without regions nobody knows whether it is false
    sample.set_metainfo(dict(regions=False, label=1))
    assert not colour(overlay_of_sample(plane, sample, size=None), FALSE_MAGENTA).any()


@pytest.mark.parametrize('is_student', [False, True])
def test_as_many_components_are_drawn_as_the_model_keeps(runner, tmp_path, is_student):
    detector = SimpleNamespace(test_cfg=dict(max_per_img=1))
    runner.model = SimpleNamespace(student=detector) if is_student else detector
    sample = film(tmp_path, 'f', 1)
    # a second component, x 56..64, y 32..36, of a lower score
    sample.pred_prob_map.data[0, 8, 7] = 0.5
    evaluate(ProbMapVisualizationHook(draw=True, size=None), runner, [[sample]])
    picture = runner.visualizer.added['test_f', 0]
    assert colour(picture, FOUND_WHITE)[12, 18:32].all()
    assert not colour(picture, FALSE_MAGENTA).any()
    runner.model, runner.visualizer = SimpleNamespace(), Pictures()
    evaluate(ProbMapVisualizationHook(draw=True, size=None), runner, [[sample]])
    assert colour(runner.visualizer.added['test_f', 0], FALSE_MAGENTA)[32, 56:60].all()


@pytest.mark.parametrize(
    'test_cfg',
    [[dict(max_per_img=1)], dict(rcnn=dict(max_per_img=1)), dict(max_per_img=None), None],
)
@pytest.mark.parametrize('has_map', [True, False])
def test_any_test_cfg_of_mmdet_will_do(runner, tmp_path, test_cfg, has_map):
    runner.model = SimpleNamespace(test_cfg=test_cfg)
    sample = film(tmp_path, 'f', 1)
    # a second component, x 56..64, y 32..36, or a box there
    sample.pred_prob_map.data[0, 8, 7] = 0.5
    if not has_map:
        del sample.pred_prob_map
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor([[56.0, 32.0, 64.0, 36.0]]), scores=torch.tensor([0.5])
        )
    evaluate(ProbMapVisualizationHook(draw=True, size=None), runner, [[sample]])
    assert colour(runner.visualizer.added['test_f', 0], FALSE_MAGENTA)[32, 56:60].all()


def test_box_detectors_and_ignored_boxes(tmp_path):
    sample = film(tmp_path, 'f', 1)
    del sample.pred_prob_map
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[50.0, 20.0, 70.0, 36.0]]), scores=torch.tensor([0.7])
    )
    sample.set_metainfo(dict(instances=[dict(bbox=[16, 8, 32, 20], ignore_flag=1)]))
    plane = np.zeros((40, 80), np.float32)
    # boxes that are ignored do not make those of a positive complete: nothing is known to be false
    picture = overlay_of_sample(plane, sample, size=None)
    assert not colour(picture, FALSE_MAGENTA).any() and not colour(picture, GT_GREEN).any()
    sample.set_metainfo(dict(label=0))
    picture = overlay_of_sample(plane, sample, size=None)
    assert colour(picture, FALSE_MAGENTA)[20, 50:54].all()
    assert not colour(picture, GT_GREEN).any()


def test_options_are_checked():
    with pytest.raises(ValueError, match='interval'):
        ProbMapVisualizationHook(interval=0)
    with pytest.raises(ValueError, match='max_films'):
        ProbMapVisualizationHook(max_films=0)
