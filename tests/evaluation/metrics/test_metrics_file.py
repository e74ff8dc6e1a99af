# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import math

import numpy as np
import pytest

from mmfrac.evaluation import FracMetric, froc


def film(name: str, label: int, score: float) -> dict:
    boxes = [[0, 0, 1.5, 1.5]] * label
    record = froc.image_record(np.array([[score, 0], [0, 0.1]]), boxes)
    return dict(img_path=name, label=label, regions=True, score=score, record=record)


def test_metric_writes_what_it_reports(tmp_path):
    out_file = tmp_path / 'deep' / 'frac_test.json'
    metric = FracMetric(out_file=str(out_file), crossing='best')
    metrics = metric.compute_metrics([film('a', 1, 0.9), film('b', 0, 0.4)])
    content = json.loads(out_file.read_text())
    assert content['metrics'] == pytest.approx(metrics)
    assert (content['num_images'], content['num_lesions']) == (2, 1)
    assert content['options']['crossing'] == 'best' and content['options']['connectivity'] == 8
    assert content['curve']['thresholds'][0] is None  # the anchor at infinity
    assert content['curve']['recall'] == metric.curve.recall.tolist()
    assert [entry.name for entry in out_file.parent.iterdir()] == ['frac_test.json']


@pytest.mark.filterwarnings('ignore')
def test_undefined_metrics_become_null(tmp_path):
    out_file = tmp_path / 'frac.json'
    metrics = FracMetric(out_file=str(out_file)).compute_metrics([film('b', 0, 0.4)])
    assert math.isnan(metrics['AUROC'])
    assert json.loads(out_file.read_text())['metrics']['AUROC'] is None
