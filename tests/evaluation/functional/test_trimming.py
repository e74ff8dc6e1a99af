# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import METRICS

from mmfrac.evaluation.functional import froc, trimming
from mmfrac.evaluation.functional.trimming import trim_records
from tests.evaluation.functional.test_froc import several_films
from tests.evaluation.metrics.test_frac_metric import LESION, evaluate, sample

WANTED = [0.0, 0.3, 1.0, 2.0, 5.0]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(several_films(), min_size=1, max_size=4),
    st.sampled_from(['all', 'negatives']),
    st.sampled_from(['linear', 'step']),
)
@pytest.mark.filterwarnings('ignore:recall is NaN')
def test_ranks_that_trim_by_themselves_change_nothing(ranks, denominator, interpolation):
    num_films = sum(map(len, ranks))
    pooled = [record for rank in ranks for record in rank]
    trimmed = [r for rank in ranks for r in trim_records(rank, num_films, 5.0, denominator)]
    before, after = (froc.froc_curve(records, denominator) for records in (pooled, trimmed))
    options = dict(crossing='first', interpolation=interpolation)
    np.testing.assert_array_equal(
        froc.recall_at(after, WANTED, **options), froc.recall_at(before, WANTED, **options)
    )
    # up to the point that passes it the curve itself is the same
    exact, kept = froc.curve_until(before, 5.0), froc.curve_until(after, 5.0)
    np.testing.assert_array_equal(kept.fppi, exact.fppi)
    np.testing.assert_array_equal(kept.recall, exact.recall)


def test_of_noise_little_is_left():
    rng = np.random.default_rng(0)
    records = [froc.image_record(rng.random((64, 64)), []) for _ in range(50)]
    trimmed = trim_records(records, 50, 8.0)
    full, left = (sum(len(pickle.dumps(r)) for r in some) for some in (records, trimmed))
    assert left < full / 20
    # down to where these films alone have more than 8 each, all at that threshold included
    lowest = min(record.thresholds[-1] for record in trimmed)
    assert sum(record.false_positives_at(lowest) for record in records) > 400
    above = np.nextafter(lowest, 1)
    assert sum(record.false_positives_at(above) for record in records) <= 400


def films(seed):
    rng = np.random.default_rng(seed)
    return [
        sample(
            f'{index}',
            index % 2,
            lesions=[LESION] if index % 2 else [],
            cells=[
                (row, column, float(value))
                for (row, column), value in np.ndenumerate(rng.random((8, 10)))
            ],
        )
        for index in range(12)
    ]


def test_metric_reports_the_same_and_keeps_less():
    expected, whole = evaluate(films(0))
    metrics, metric = evaluate(films(0), max_fppi=1.0)
    assert metrics == expected
    assert metric.curve.fppi.size < whole.curve.fppi.size
    assert metric.curve.fppi[-1] > 1 >= metric.curve.fppi[:-1].max()
    np.testing.assert_array_equal(metric.curve.fppi, whole.curve.fppi[: metric.curve.fppi.size])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(max_fppi=0.4), 'at least the largest'),
        (dict(max_fppi=1.0, recall_fppi=[2.0]), '2.0, got 1.0'),
        (dict(max_fppi=1.0, records_file='r.json'), '2.0, got 1.0'),
        (dict(max_fppi=8.0, crossing='best'), "crossing='first'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message.replace('.', r'\.')):
        evaluate(films(0), **options)


@pytest.mark.parametrize('denominator', ['all', 'negatives'])
@pytest.mark.parametrize('max_fppi', [0.5, 3.0, 1000.0])
def test_cut_records_come_back_as_far_as_they_matter(monkeypatch, max_fppi, denominator):
    monkeypatch.setattr(trimming, 'DEPTH', 4)
    rng = np.random.default_rng(1)
    lesions = [[], [[2, 2, 6, 6]]]
    whole = [
        froc.image_record(rng.random((12, 12)).astype(dtype) ** (1 + film % 5), lesions[film % 2])
        for film, dtype in enumerate([np.float32, np.float64] * 15)
    ]
    store = trimming.RecordStore()
    heads, rests = zip(*(store.cut(record) for record in whole))
    assert all(head.thresholds.size <= 4 for head in heads)
    for record, head, rest in zip(whole, heads, rests):
        again = store.join(head, rest)
        np.testing.assert_array_equal(again.thresholds, record.thresholds)
        np.testing.assert_array_equal(again.false_positives, record.false_positives)
        assert again.thresholds.dtype == record.thresholds.dtype
    found = trimming.trim_cut_records(heads, rests, store, 30, max_fppi, denominator)
    expected = trim_records(whole, 30, max_fppi, denominator)
    for left, right in zip(found, expected):
        if denominator == 'all' or not len(left.lesion_scores):
            np.testing.assert_array_equal(left.thresholds, right.thresholds)
            np.testing.assert_array_equal(left.false_positives, right.false_positives)


def test_little_stays_in_memory_while_films_stream(monkeypatch):
    monkeypatch.setattr(trimming, 'DEPTH', 4)
    expected, whole = evaluate(films(0))
    metric = METRICS.build(dict(type='FracMetric', max_fppi=2.0))
    metric.process(None, [film.to_dict() for film in films(0)])
    assert all(result['record'].thresholds.size <= 4 for result in metric.results)
    # asked without gathering it is the whole again
    copies = [dict(result) for result in metric.results]
    metrics = metric.compute_metrics(copies)
    assert {f'frac/{name}': value for name, value in metrics.items()} == expected
    assert metric.evaluate(12) == expected
    np.testing.assert_array_equal(metric.curve.fppi, froc.curve_until(whole.curve, 2.0).fppi)
    assert metric._store._file is None
