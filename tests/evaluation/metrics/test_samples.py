# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import re

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from mmfrac.apis.inferencer import prediction_of_image
from mmfrac.evaluation import FracMetric
from mmfrac.evaluation.metrics.samples import prediction_of_sample
from mmfrac.evaluation.metrics.save_predictions import SavePredictions
from mmfrac.evaluation.offline.image_prediction import PredictionError


def sample(prob_map=None, own_score=None, box_scores=(0.25, 0.5)) -> DetDataSample:
    metainfo = dict(img_path='/films/a.png', map_scale=(4.0, 2.0), label=0, regions=False)
    film = DetDataSample(metainfo=metainfo)
    film.pred_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8]] * len(box_scores)).reshape(-1, 4),
        scores=torch.tensor(box_scores),
    )
    if prob_map is not None:
        film.pred_prob_map = PixelData(data=torch.tensor(prob_map))
    if own_score is not None:
        film.set_field(torch.tensor(own_score), 'pred_score')
    return film


@pytest.mark.parametrize(
    ('film', 'score'),
    [
        (sample([[[0.125, 0.75]]], 0.625), 0.625),
        (sample([[[0.125, 0.75]]]), 0.75),
        (sample(own_score=0.875), 0.875),
        (sample(), 0.5),
        (sample(box_scores=()), 0),
    ],
)
def test_image_score_is_its_own_then_of_the_map_then_of_the_boxes(film, score):
    assert prediction_of_sample(film.to_dict()).image_score == score
    assert prediction_of_image('a', film)['score'] == score
    metric = FracMetric()
    metric.process(None, [film.to_dict()])
    assert metric.results[0]['score'] == score


@pytest.mark.parametrize('shape', [(2, 3, 4), (3, 4), (1, 1, 3, 4)])
def test_no_reader_takes_a_map_of_several_planes(shape, tmp_path):
    film = sample().to_dict() | dict(pred_prob_map=dict(data=torch.zeros(shape)))
    for metric in (FracMetric(), SavePredictions(tmp_path / 'saved')):
        with pytest.raises(ValueError, match=r'/films/a\.png must be \(1, h, w\)'):
            metric.process(None, [film])


def test_a_map_without_its_scale(tmp_path):
    film = sample([[[0.125, 0.75]]], 0.625).to_dict()
    del film['map_scale']
    with pytest.raises(ValueError, match=r"/films/a\.png has no 'map_scale'"):
        FracMetric().process(None, [film])
    with pytest.raises(PredictionError, match=r'/films/a\.png:\n  map_scale must be two numbers'):
        SavePredictions(tmp_path / 'saved').process(None, [film])
    metric = FracMetric(source='boxes')
    metric.process(None, [film])
    assert metric.results[0]['score'] == 0.5


def test_boxes_of_another_form_are_refused_not_cut_anew(tmp_path):
    found = dict(bboxes=np.zeros((4, 5)), scores=np.zeros(4))
    film = sample().to_dict() | dict(pred_instances=found)
    for metric in (FracMetric(), SavePredictions(tmp_path / 'saved')):
        with pytest.raises(ValueError, match=r'\(4, 5\)'):
            metric.process(None, [film])


MAP = dict(data=torch.tensor([[[0.125, 0.75]]]))
PLANES = dict(data=torch.zeros(2, 1, 2))


@pytest.mark.parametrize(
    ('source', 'fields', 'score'),
    [
        ('boxes', dict(pred_prob_map=PLANES), 0.5),
        ('boxes', dict(pred_prob_map=MAP, map_scale=None), 0.5),
        ('boxes', dict(pred_prob_map=MAP, pred_score=torch.tensor([0.875, 0.25])), 0.5),
        ('boxes', dict(pred_score=torch.tensor([0.875, 0.25])), 0.5),
        ('boxes', dict(pred_score=torch.tensor(0.875)), 0.5),
        ('auto', dict(pred_score=torch.tensor([0.875])), 0.875),
        ('auto', dict(map_scale=None), 0.5),
        ('auto', dict(pred_prob_map=MAP, pred_instances=dict(masks=torch.zeros(1, 4, 4))), 0.75),
        ('prob_map', dict(pred_prob_map=MAP, pred_instances=dict(bboxes=torch.zeros(1, 4))), 0.75),
    ],
)
def test_what_is_not_measured_is_not_read(source, fields, score):
    film = sample().to_dict() | fields
    metric = FracMetric(source=source)
    metric.process(None, [film])
    assert metric.results[0]['score'] == score
    # of the caller
    assert set(film) == set(sample().to_dict()) | set(fields)


def test_an_image_score_that_counts_is_one_number(tmp_path):
    film = sample().to_dict() | dict(pred_score=torch.tensor([0.875, 0.25]))
    for metric in (FracMetric(), SavePredictions(tmp_path / 'saved')):
        with pytest.raises(
            ValueError, match=r'pred_score of film /films/a\.png must be one number'
        ):
            metric.process(None, [film])


@pytest.mark.parametrize('scale', [None, 4.0, (4.0, 4.0, 4.0), (4.0, 0.0)])
def test_a_scale_that_is_none(scale, tmp_path):
    film = sample([[[0.125, 0.75]]], 0.625).to_dict() | dict(map_scale=scale)
    said = f'scale of film /films/a.png must be two numbers > 0, (sx, sy), got {scale}'
    with pytest.raises(ValueError, match=re.escape(said)):
        FracMetric().process(None, [film])
    with pytest.raises(PredictionError, match=r'/films/a\.png:\n  map_scale must be two numbers'):
        SavePredictions(tmp_path / 'saved').process(None, [film])


def test_an_image_without_a_scale_has_its_score_still():
    film = sample([[[0.125, 0.75]]], 0.625)
    film.set_metainfo(dict(map_scale=None))
    found = prediction_of_image('a', film)
    assert found['score'] == 0.625 and found['map_scale'] is None
