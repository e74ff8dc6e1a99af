# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is detected in an ignored box is neither hit nor false, in every metric and reader alike."""

import json

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.engine.hooks.pseudo_truth_hook import pseudo_map_counts
from mmfrac.evaluation.definitions import METRIC_DEFAULTS, Definitions
from mmfrac.evaluation.functional.afroc import afroc_area
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.evaluation.metrics.save_predictions import SavePredictions
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.map_folder import read_prediction
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import open_predictions
from mmfrac.evaluation.report.page import _overlay
from mmfrac.visualization.overlay import FALSE_MAGENTA, IGNORED_GREY, draw_overlay
from mmfrac.visualization.prob_map_visualization_hook import overlay_of_sample

LESION, IGNORED, ELSEWHERE = [8, 8, 8, 8], [32, 32, 16, 16], [48, 4, 8, 8]
DETECTIONS = [(LESION, 0.5), (IGNORED, 0.9), ([36, 36, 4, 4], 0.8), (ELSEWHERE, 0.25)]


def annotations(flag):
    common = dict(area=64, category_id=1)
    annotations = [
        common | dict(id=1, image_id=1, bbox=LESION, iscrowd=0),
        common | dict(id=2, image_id=1, bbox=IGNORED, **flag),
        common | dict(id=3, image_id=2, bbox=LESION, iscrowd=0),
        common | dict(id=4, image_id=2, bbox=IGNORED, **flag),
    ]
    images = [
        dict(id=index + 1, file_name=f'{index}.png', width=64, height=64, patient_id=str(index))
        for index in range(3)
    ]
    categories = [dict(id=1, name='fracture')]
    return dict(images=images, annotations=annotations, categories=categories)


def sample_of(info, kind):
    boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h), _ in DETECTIONS], float)
    scores = np.array([score for _, score in DETECTIONS])
    if kind == 'boxes':
        predicted = dict(bboxes=boxes, scores=scores, labels=np.zeros(len(boxes), int))
        return info | dict(pred_instances=predicted)
    prob_map = np.zeros((1, 16, 16), np.float32)
    for (x1, y1, x2, y2), score in zip(boxes.astype(int) // 4, scores):
        prob_map[0, y1:y2, x1:x2] = np.maximum(prob_map[0, y1:y2, x1:x2], score)
    return info | dict(pred_prob_map=dict(data=prob_map), map_scale=(4.0, 4.0))


@pytest.mark.parametrize('flag', [dict(iscrowd=1), dict(iscrowd=0, ignore=1)])
@pytest.mark.parametrize('kind', ['boxes', 'maps'])
def test_metric_and_offline_agree(kind, flag, tmp_path):
    (tmp_path / 'truth.json').write_text(json.dumps(annotations(flag)))
    dataset = CXRDataset(
        ann_file=str(tmp_path / 'truth.json'), check_files=False, test_mode=True, pipeline=[]
    )
    samples = [sample_of(dataset.get_data_info(index), kind) for index in range(2)]
    # a film without any box, on which nothing is found
    empty = dict(bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
    samples.append(dataset.get_data_info(2) | dict(pred_instances=empty))
    metric, writer = FracMetric(recall_fppi=(0.5, 1)), SavePredictions(tmp_path / 'saved')
    for one in (metric, writer):
        one.process(None, samples)
    online = [result['record'] for result in metric.results]
    values = metric.evaluate(3)
    writer.evaluate(3)
    truth = read_ground_truth(tmp_path / 'truth.json')
    saved = open_predictions(tmp_path / 'saved', truth)
    offline = evaluate_predictions(truth, saved, METRIC_DEFAULTS).records
    for records in (online, offline):
        for record in records[:2]:
            # one lesion, hit at its own score; one false positive, at the lowest
            assert record.lesion_scores.tolist() == [0.5]
            assert record.thresholds.tolist() == [0.25] and record.false_positives.tolist() == [1]
        assert records[2].thresholds.size == records[2].lesion_scores.size == 0
        # a lesion at 0.5 is above every false positive, that of an ignored box at 0.9 would not be
        assert afroc_area(records, 'all') == 1
    assert values['frac/Recall@0.5'] == 1 and values['frac/FROC'] == 1
    if kind == 'boxes':
        rows = [
            dict(image_id=image, category_id=1, bbox=box, score=score)
            for image in (1, 2)
            for box, score in DETECTIONS
        ]
        (tmp_path / 'r.json').write_text(json.dumps(rows))
        found = open_predictions(tmp_path / 'r.json', truth)
        for one, other in zip(evaluate_predictions(truth, found, Definitions()).records, offline):
            assert one.thresholds.tolist() == other.thresholds.tolist()
            assert one.lesion_scores.tolist() == other.lesion_scores.tolist()


def has(picture, colour):
    return bool((picture == np.array(colour)).all(axis=2).any())


def test_overlays_draw_them_as_ignored(tmp_path):
    (tmp_path / 'truth.json').write_text(json.dumps(annotations(dict(iscrowd=1))))
    plane = np.zeros((64, 64), np.float32)
    found = dict(bboxes=np.array([[34, 34, 46, 46.0]]), scores=np.array([0.9]))
    lesion, ignored = np.array([[8, 8, 16, 16.0]]), np.array([[32, 32, 48, 48.0]])
    assert has(draw_overlay(plane, None, None, lesion, found), FALSE_MAGENTA)
    picture = draw_overlay(plane, None, None, lesion, found, ignore_boxes=ignored)
    assert not has(picture, FALSE_MAGENTA) and has(picture, IGNORED_GREY)
    truth = read_ground_truth(tmp_path / 'truth.json').images[0]
    sample = sample_of(dict(img_path='0.png'), 'boxes')
    writer = SavePredictions(tmp_path / 'saved')
    writer.process(None, [sample])
    writer.evaluate(1)
    (path,) = (tmp_path / 'saved').glob('*.npz')
    prediction = read_prediction(path, '0.png')
    # a detection is drawn over the box that it fills
    assert not has(_overlay(plane, truth, prediction, 0.7), FALSE_MAGENTA)
    assert has(_overlay(plane, truth, prediction, 0.95), IGNORED_GREY)
    assert has(_overlay(plane, truth, prediction, 0.2), FALSE_MAGENTA)
    for regions in (True, False):
        data = DetDataSample(
            metainfo=dict(
                label=1,
                regions=regions,
                file_name='0.png',
                instances=[
                    dict(bbox=[8, 8, 16, 16], bbox_label=0, ignore_flag=0),
                    dict(bbox=[32, 32, 48, 48], bbox_label=0, ignore_flag=1),
                ],
            )
        )
        data.pred_instances = InstanceData(
            bboxes=torch.tensor(found['bboxes']), scores=torch.tensor(found['scores'])
        )
        picture = overlay_of_sample(plane, data)
        assert not has(picture, FALSE_MAGENTA) and has(picture, IGNORED_GREY)


def test_the_truth_of_pseudo_maps_has_no_lesion_there():
    instances = [
        dict(bbox=[8, 8, 16, 16], ignore_flag=0),
        dict(bbox=[32, 32, 48, 48], ignore_flag=1),
    ]
    sample = DetDataSample(
        metainfo=dict(
            instances=instances,
            scale_factor=(1.0, 1.0),
            batch_input_shape=(64, 64),
            img_shape=(64, 64),
        )
    )
    target, valid = torch.zeros(1, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    target[0, 2:4, 2:4] = 1
    # as the target leaves the cells of an ignored box out
    valid[0, 8:12, 8:12] = False
    sample.gt_prob_map = PixelData(prob_map=target, valid=valid)
    pseudo_map = torch.zeros(1, 1, 16, 16)
    pseudo_map[0, 0, 2:4, 2:4] = pseudo_map[0, 0, 8:12, 8:12] = 0.9
    counts = pseudo_map_counts(pseudo_map, pseudo_map, [sample])
    assert counts[:6].tolist() == [240, 4, 4, 4, 1, 1]
