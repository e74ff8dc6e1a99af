# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mmfrac.evaluation.definitions import METRIC_DEFAULTS, METRIC_OPTIONS
from mmfrac.evaluation.functional.froc import ImageRecord, ImageResult
from mmfrac.evaluation.metrics.files import RecordSet
from mmfrac.experiments.fold_summary import summarise_folds, summary_table, write_summary


def film(name, label, score, lesions=(), false_positives=()):
    """A film whose lesions and false positives have these scores."""
    thresholds = np.sort(np.asarray(false_positives, np.float32))[::-1]
    record = ImageRecord(
        thresholds, np.arange(1, len(thresholds) + 1), np.asarray(lesions, np.float32), score
    )
    return ImageResult(name, f'p{name}', label, score, record)


DEFINITIONS = replace(METRIC_DEFAULTS, recall_fppi=(0.25,))


def records(images, definitions=DEFINITIONS, where='records.json', max_fppi=None):
    return RecordSet(where, images, definitions, max_fppi)


# each fold: a found lesion, a missed one, a negative with and one without a false positive
FOLD_0 = [
    film('a', 1, 0.9, [0.9, 0.0]),
    film('b', 0, 0.5, (), [0.5]),
    film('c', 0, 0.1),
]
FOLD_1 = [
    film('d', 1, 0.4, [0.4]),
    film('e', 0, 0.8, (), [0.8]),
    film('f', 0, 0.2),
    ImageResult('g', 'pg', 1, 0.7, None),  # label only: AUROC alone
]


@pytest.fixture
def summary():
    ensemble = [film('x', 1, 0.9, [0.9]), film('y', 0, 0.2)]
    hold_out = [
        [film('x', 1, 0.8, [0.8]), film('y', 0, 0.9, (), [0.9])],
        [film('x', 1, 0.7, [0.7]), film('y', 0, 0.3)],
    ]
    return summarise_folds(
        [records(FOLD_0), records(FOLD_1)],
        [records(images) for images in hold_out],
        records(ensemble),
        [4, 7],
    )


def test_folds_mean_and_spread(summary):
    # fold 0: positive 0.9 over 0.5 and 0.1; fold 1: 0.4 over 0.2, 0.7 over 0.2, both under 0.8
    auroc = [1.0, 2 / 4]
    rows = [summary.row('validation', f'fold {fold}') for fold in range(2)]
    assert [row.metrics['AUROC'] for row in rows] == auroc
    assert [row.epoch for row in rows] == [4, 7] and [row.images for row in rows] == [3, 4]
    assert [row.curve.num_lesions for row in rows] == [2, 1]
    # before the first false positive: one of two lesions; after it (FPPI 1/3) the only lesion
    assert rows[0].metrics['FROC'] == 0.5 and rows[0].metrics['Recall@0.25'] == 0.5
    assert rows[1].metrics['Recall@0.25'] == 0.0
    mean, spread = summary.row('validation', 'mean'), summary.row('validation', 'sd')
    assert mean.metrics['AUROC'] == 0.75 and mean.curve is None
    assert spread.metrics['AUROC'] == pytest.approx(0.25 * math.sqrt(2))
    assert spread.metrics['Recall@0.25'] == pytest.approx(0.25 * math.sqrt(2))


def test_pooled_over_the_folds_own_films(summary):
    pooled = summary.row('validation', 'pooled')
    # positives 0.9, 0.4, 0.7 against 0.5, 0.1, 0.8, 0.2
    assert pooled.metrics['AUROC'] == pytest.approx((4 + 2 + 3) / 12)
    assert pooled.images == 7 and (pooled.curve.num_images, pooled.curve.num_lesions) == (6, 3)
    # 0.9 hit; 0.8 false (1/6); 0.5 false (2/6); 0.4 hit: two of three at last
    assert pooled.curve.fppi.tolist() == pytest.approx([0, 0, 1 / 6, 2 / 6, 2 / 6])
    assert pooled.curve.recall.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert pooled.metrics['Recall@0.25'] == pytest.approx(1 / 3)


def test_hold_out_and_ensemble(summary):
    assert [row.metrics['AUROC'] for row in summary.rows if row.split == 'hold-out'] == [
        *(0.0, 1.0, 0.5),
        pytest.approx(math.sqrt(0.5)),
        2 / 4,  # 0.8, 0.7 against 0.9, 0.3
        1.0,
    ]
    pooled, ensemble = (summary.row('hold-out', name) for name in ('pooled', 'ensemble'))
    # the same film of two models is two films of the pooled curve
    assert pooled.images == 4 and pooled.curve.num_lesions == 2
    assert ensemble.images == 2 and ensemble.metrics['FROC'] == 1.0 and ensemble.epoch is None


def test_without_hold_out_and_with_one_class():
    only_negatives = [film('b', 0, 0.5), film('c', 0, 0.1)]
    with pytest.warns(UserWarning, match='NaN'):
        summary = summarise_folds([records(FOLD_0), records(only_negatives)], [], None, [1, 1])
    assert {row.split for row in summary.rows} == {'validation'}
    assert math.isnan(summary.row('validation', 'mean').metrics['AUROC'])


def test_files(summary, tmp_path):
    written = write_summary(summary, tmp_path, dict(config='a.py'))
    assert [path.name for path in written] == [
        'cross_validation.json',
        'cross_validation.csv',
        'froc_validation.png',
        'froc_holdout.png',
    ]
    assert all(path.read_bytes()[:4] == b'\x89PNG' for path in written[2:])
    content = json.loads(written[0].read_text())
    assert content['config'] == 'a.py' and content['options'] == json.loads(
        json.dumps(DEFINITIONS.as_dict(METRIC_OPTIONS))
    )
    with open(written[1], newline='') as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(content['rows']) == len(summary.rows) == 11
    for line, entry, row in zip(table, content['rows'], summary.rows):
        assert (line['crossing'], line['recall_fppi']) == ('first', '0.25')
        assert (line['split'], line['model']) == (entry['split'], entry['model'])
        assert float(line['AUROC']) == entry['metrics']['AUROC'] == row.metrics['AUROC']
        assert ('curve' in entry) == (line['films'] != '') == (row.curve is not None)
    assert content['rows'][4]['curve']['recall'] == summary.rows[4].curve.recall.tolist()
    assert content['rows'][4]['curve']['thresholds'][0] is None  # the anchor, infinite
    lines = summary_table(summary).splitlines()
    assert len(lines) == 12 and len(set(map(len, lines))) == 1
    numbers = ['0', '4', '3', '2', '1.0000', '0.5000', '0.5000']
    assert lines[1].split() == ['validation', 'fold', *numbers]


def test_what_is_not_finite_is_null(tmp_path):
    only_negatives = [film('b', 0, 0.5), film('c', 0, 0.1)]
    with pytest.warns(UserWarning, match='NaN'):
        summary = summarise_folds([records(only_negatives)] * 2, [], None, [1, 1])
    written = write_summary(summary, tmp_path, {})
    assert [path.suffix for path in written] == ['.json', '.csv']  # nothing to draw
    assert 'NaN' not in written[0].read_text()
    assert json.loads(written[0].read_text())['rows'][0]['metrics']['AUROC'] is None


def test_other_definitions_are_refused():
    best = replace(DEFINITIONS, crossing='best')
    with pytest.raises(ValueError, match=r'a\.json and b\.json cannot .*crossing first and best'):
        summarise_folds(
            [records(FOLD_0, where='a.json'), records(FOLD_1, best, 'b.json')], [], None, [1, 1]
        )


def test_records_that_end_too_early_are_refused():
    # fold 0 has a false positive on one of three images: its own figures are there, not the pooled
    parts = [records(FOLD_0, where='a.json', max_fppi=0.3), records(FOLD_1, where='b.json')]
    few = [replace(part, definitions=replace(DEFINITIONS, targets=(0.1, 0.25))) for part in parts]
    with pytest.raises(ValueError, match=r'validation, all folds.* cut at FPPI 0\.15'):
        summarise_folds(few, [], None, [1, 1])
