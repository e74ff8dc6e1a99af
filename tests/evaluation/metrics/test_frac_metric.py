# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData, PixelData

from mmfrac.evaluation import FracMetric

LESION = dict(bbox=[8, 8, 24, 24], bbox_label=0, ignore_flag=0)


def sample(name, label, regions=True, lesions=(), cells=(), boxes=None, score=None, **metainfo):
    """A prediction on a 40 x 32 film: a map of (row, column, value) at scale 4, or boxes."""
    film = DetDataSample(
        metainfo=dict(
            img_path=f'/films/{name}.png',
            img_id=name,
            ori_shape=(32, 40),
            label=label,
            regions=regions,
            instances=list(lesions),
            map_scale=(4.0, 4.0),
            **metainfo,
        )
    )
    if boxes is not None:
        rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
        film.pred_instances = InstanceData(
            bboxes=rows[:, :4], scores=rows[:, 4], labels=torch.zeros(len(rows)).long()
        )
        return film
    prob_map = torch.zeros(1, 8, 10)
    for row, column, value in cells:
        prob_map[0, row, column] = value
    film.pred_prob_map = PixelData(data=prob_map)
    film.set_field(prob_map.max() if score is None else score, 'pred_score')
    return film


def evaluate(samples, size=None, **options):
    evaluator = Evaluator(METRICS.build(dict(type='FracMetric', **options)))
    for film in samples:
        evaluator.process([film])
    return evaluator.evaluate(size or len(samples)), evaluator.metrics[0]


@pytest.fixture
def films():
    return [
        # Hit at 0.75 (cell (4, 4)); a false positive of 0.5.
        sample('a', 1, lesions=[LESION], cells=[(4, 4, 0.75), (0, 9, 0.5)]),
        # Missed until 0.25, a false positive of 0.875.
        sample('b', 1, lesions=[LESION], cells=[(4, 4, 0.25), (7, 0, 0.875)]),
        sample('c', 0, cells=[(2, 2, 0.5)]),
        sample('d', 0),
    ]


def test_maps_end_to_end(films):
    metrics, metric = evaluate(films)
    curve = metric.curve
    assert curve.thresholds.tolist() == [np.inf, 0.875, 0.75, 0.5, 0.25]
    assert curve.fppi.tolist() == [0, 0.25, 0.25, 0.75, 0.75]
    assert curve.recall.tolist() == [0, 0, 0.5, 0.5, 1]
    assert set(metrics) == {'frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'}
    assert all(type(value) is float for value in metrics.values())
    assert metrics['frac/AUROC'] == 1
    assert metrics['frac/Recall@0.1'] == 0
    assert metrics['frac/FROC'] == pytest.approx((0 + 0 + 0.5 + 0.5 + 0.5) / 5)


def test_options_reach_the_mathematics(films):
    metrics, _ = evaluate(
        films,
        denominator='negatives',
        targets=[0.4],
        recall_fppi=(0.25, 1),
        crossing='best',
        interpolation='step',
        prefix='map',
    )
    # Of the two negatives one has a component, at 0.5: FPPI 0 down to there, 0.5 below.
    expected = {'map/AUROC': 1, 'map/FROC': 0.5, 'map/Recall@0.25': 0.5, 'map/Recall@1': 1}
    assert metrics == expected
    diagonal = [sample('a', 1, lesions=[LESION], cells=[(0, 0, 0.5), (1, 1, 0.5), (4, 4, 0.5)])]
    for connectivity, count in ((8, 1), (4, 2)):
        with pytest.warns(UserWarning, match='both classes'):
            _, metric = evaluate(diagonal, connectivity=connectivity)
        assert metric.curve.fppi.tolist() == [0, count]


def test_boxes_end_to_end():
    films = [
        sample('a', 1, lesions=[LESION], boxes=[[10, 10, 20, 20, 0.75], [0, 0, 4, 4, 0.5]]),
        sample('b', 0, boxes=[[0, 0, 4, 4, 0.25]]),
        sample('c', 0, boxes=[]),
        sample('d', -1, regions=False, boxes=[[0, 0, 4, 4, 1.0]]),
    ]
    metrics, metric = evaluate(films)
    assert metric.curve.thresholds.tolist() == [np.inf, 0.75, 0.5, 0.25]
    np.testing.assert_allclose(metric.curve.fppi, [0, 0, 1 / 3, 2 / 3])
    assert metrics == {'frac/AUROC': 1, 'frac/FROC': 1, 'frac/Recall@0.1': 1}


def test_source_chooses_between_map_and_boxes():
    film = sample('a', 1, lesions=[LESION], cells=[(4, 4, 0.75)])
    film.pred_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 4, 4]]), scores=torch.tensor([0.5])
    )
    expected = {'auto': (0.75, [0.75]), 'prob_map': (0.75, [0.75]), 'boxes': (0.5, [0])}
    for source, (score, lesion_scores) in expected.items():
        metric = FracMetric(source=source)
        metric.process(None, [film.to_dict()])
        assert metric.results[0]['score'] == score
        assert metric.results[0]['record'].lesion_scores.tolist() == lesion_scores
    with pytest.raises(ValueError, match=r'a\.png.*pred_prob_map'):
        FracMetric(source='prob_map').process(None, [sample('a', 1, boxes=[]).to_dict()])


def test_unknown_labels_and_incomplete_boxes_are_left_out(films):
    expected, _ = evaluate(films)
    extra = [
        # No mask and no box is known: neither false positives nor lesions.
        sample('e', 1, regions=False, lesions=[LESION], cells=[(0, 0, 1.0)]),
        sample('f', 0, regions=False, cells=[(0, 0, 0.125)]),
    ]
    metrics, metric = evaluate(films + extra)
    assert metrics == expected
    assert (metric.curve.num_images, metric.curve.num_lesions) == (4, 2)
    metric.process(None, [film.to_dict() for film in extra])
    assert [result['record'] for result in metric.results] == [None, None]
    unknown = sample('g', -1, regions=True, cells=[(0, 0, 1.0)])
    metrics, metric = evaluate([*films, unknown])
    assert metrics['frac/AUROC'] == 1
    assert metric.curve.fppi[1] == 0.2


def test_ignored_boxes_are_no_lesions():
    ignored = dict(LESION, ignore_flag=1)
    metric = FracMetric()
    metric.process(None, [sample('a', 1, lesions=[ignored, LESION]).to_dict()])
    assert metric.results[0]['record'].lesion_scores.size == 1
    # neither hit nor false positive, of a map and of boxes: only the lower right corner is one
    found = [
        sample('a', 0, lesions=[ignored], cells=[(4, 4, 0.75), (7, 9, 0.5)]),
        sample('a', 0, lesions=[ignored], boxes=[[14, 14, 18, 18, 0.75], [36, 28, 40, 32, 0.5]]),
    ]
    for film in found:
        metric = FracMetric()
        metric.process(None, [film.to_dict()])
        record = metric.results[0]['record']
        assert record.thresholds.tolist() == [0.5] and record.false_positives.tolist() == [1]
        assert not record.lesion_scores.size and record.image_score == 0.75


def test_image_score_is_the_predicted_one_else_the_maximum():
    metric = FracMetric()
    film = sample('a', 0, cells=[(0, 0, 0.5)], score=0.25).to_dict()
    metric.process(None, [film])
    del film['pred_score']
    metric.process(None, [film])
    assert [result['score'] for result in metric.results] == [0.25, 0.5]


def test_a_film_counts_once_and_gives_one_result(films):
    expected, _ = evaluate(films)
    again = sample('b', 0, cells=[(0, 0, 1.0)])
    metrics, metric = evaluate([*films, films[1], again])
    assert metrics == expected
    assert metric.curve.num_images == 4
    metric.process(None, [film.to_dict() for film in films])
    assert [set(result) for result in metric.results] == 4 * [
        {'img_path', 'img_id', 'patient_id', 'label', 'regions', 'score', 'record'}
    ]
    assert not any(
        isinstance(value, torch.Tensor) for result in metric.results for value in result.values()
    )


def test_padding_of_the_last_batch_is_cut(films):
    expected, _ = evaluate(films)
    metrics, _ = evaluate([*films, sample('z', 0, cells=[(0, 0, 1.0)])], size=4)
    assert metrics == expected


def test_no_lesion_and_one_class_are_nan_with_a_warning():
    with pytest.warns(UserWarning) as caught:
        metrics, _ = evaluate([sample('a', 0), sample('b', 0, cells=[(0, 0, 0.5)])])
    assert set(metrics) == {'frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'}
    assert np.isnan(list(metrics.values())).all()
    messages = ' '.join(str(warning.message) for warning in caught)
    assert 'no lesion' in messages and 'both classes' in messages


@pytest.mark.parametrize('key', ['label', 'regions', 'instances', 'map_scale'])
def test_a_missing_key_is_named(key):
    film = sample('a', 1, lesions=[LESION]).to_dict()
    del film[key]
    with pytest.raises(ValueError, match=rf"/films/a\.png has no '{key}'.*meta_keys"):
        FracMetric().process(None, [film])


def test_a_film_is_named_by_path_or_id():
    film = sample('a', 1, lesions=[LESION]).to_dict()
    del film['img_path']
    metric = FracMetric()
    metric.process(None, [film])
    assert metric.results[0]['img_path'] == 'a'
    del film['img_id']
    with pytest.raises(ValueError, match=r'img_id.*meta_keys'):
        metric.process(None, [film])


@pytest.mark.parametrize('regions', [True, False])
def test_bad_predictions_name_the_film(regions):
    nan = sample('a', 1, regions, lesions=[LESION], cells=[(3, 2, float('nan'))], score=0.5)
    with pytest.raises(ValueError, match=r'/films/a\.png.*row 3, column 2'):
        FracMetric().process(None, [nan.to_dict()])
    with pytest.raises(ValueError, match=r'/films/b\.png'):
        film = sample('b', 1, regions, lesions=[LESION], score=float('nan'))
        FracMetric().process(None, [film.to_dict()])
    with pytest.raises(ValueError, match=r'/films/c\.png.*label|label.*/films/c\.png'):
        FracMetric().process(None, [sample('c', 2, regions, lesions=[LESION]).to_dict()])
    film = sample('d', 1, regions, lesions=[LESION]).to_dict()
    film['pred_prob_map']['data'] = torch.zeros(2, 8, 10)
    with pytest.raises(ValueError, match=r'/films/d\.png.*\(1, h, w\)'):
        FracMetric().process(None, [film])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_any_float_type_on_the_autograd_tape(dtype):
    film = sample('a', 1, lesions=[LESION]).to_dict()
    film['pred_prob_map']['data'] = torch.full((1, 8, 10), 0.5, dtype=dtype, requires_grad=True)
    metric = FracMetric()
    metric.process(None, [film])
    assert metric.results[0]['record'].lesion_scores.tolist() == [0.5]


@pytest.mark.parametrize(
    'options',
    [
        dict(source='map'),
        dict(connectivity=6),
        dict(denominator='x'),
        dict(crossing='x'),
        dict(interpolation='x'),
        dict(targets=()),
        dict(targets=(-0.1,)),
        dict(recall_fppi=0.1),
    ],
)
def test_options_are_checked_at_construction(options):
    with pytest.raises(ValueError):
        METRICS.build(dict(type='FracMetric', **options))
