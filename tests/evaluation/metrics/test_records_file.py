# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json

import numpy as np
import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.functional.bootstrap import bootstrap_recalls, patient_weights
from mmfrac.evaluation.metrics.files import FilmResult, read_records, write_records
from tests.evaluation.metrics.test_frac_metric import LESION, evaluate, sample


def random_results(seed=0, films=12):
    rng = np.random.default_rng(seed)
    results = []
    for film in range(films):
        boxes = [[8, 8, 24, 24]] if film % 2 else []
        record = froc.image_record(rng.random((24, 24), dtype=np.float32) ** 8, boxes, (2.0, 2.0))
        results.append(FilmResult(str(film), f'p{film // 2}', film % 2, record.image_score, record))
    return results


def test_recalls_of_the_file_are_those_of_the_records(tmp_path):
    results = random_results()
    write_records(tmp_path / 'records.json', results)
    text = (tmp_path / 'records.json').read_text()
    read = read_records(json.loads(text))
    before, after = ([result.record for result in some] for some in (results, read))
    assert sum(r.thresholds.size for r in after) < sum(r.thresholds.size for r in before) / 4
    fppi = (0.1, 0.5, 1.0)
    curves = [froc.froc_curve(records) for records in (before, after)]
    assert np.array_equal(*(froc.recall_at(curve, fppi) for curve in curves))
    weights = patient_weights([result.patient for result in results], 200)
    # a replicate can take the worst film several times, so at half the bound only
    assert np.array_equal(*(bootstrap_recalls(r, weights, fppi[:2]) for r in (before, after)))
    for result, other in zip(results, read):
        assert (result.film, result.patient, result.label) == (
            other.film,
            other.patient,
            other.label,
        )
        assert np.float32(result.score) == np.float32(other.score)


def test_max_fppi_bounds_what_is_kept(tmp_path):
    results = random_results()
    sizes = []
    for max_fppi in (0.5, 2.0, 1e9):
        write_records(tmp_path / 'records.json', results, max_fppi)
        read = read_records(json.loads((tmp_path / 'records.json').read_text()))
        sizes.append(sum(result.record.thresholds.size for result in read))
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[2] == sum(result.record.thresholds.size for result in results)


def test_the_metric_writes_one_entry_a_film(tmp_path):
    films = [
        sample('a', 1, lesions=[LESION], cells=[(4, 4, 0.75), (0, 9, 0.5)], patient_id='p1'),
        sample('b', 1, regions=False, cells=[(4, 4, 0.25)], patient_id='p1'),
        sample('c', 0),
        sample('a', 1, lesions=[LESION], cells=[(4, 4, 0.1)], patient_id='p1'),
    ]
    evaluate(films, records_file=str(tmp_path / 'records.json'))
    content = json.loads((tmp_path / 'records.json').read_text())
    read = read_records(content)
    assert [result.film for result in read] == ['a', 'b', 'c']
    assert [result.patient for result in read] == ['p1', 'p1', '/films/c.png']
    assert read[0].record.lesion_scores.tolist() == [0.75]
    assert read[0].record.false_positives.tolist() == [1]
    assert read[1].record is None and read[1].score == 0.25
    assert [path.name for path in tmp_path.iterdir()] == ['records.json']


def test_another_format_is_refused():
    with pytest.raises(ValueError, match='no records of format 1'):
        read_records({'films': []}, 'x.json')


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(label=2), 'label 2'),
        (dict(label=None), 'label None'),
        (dict(score='x'), 'real number'),
        (dict(score=float('nan')), 'score nan'),
        (dict(thresholds=[0.5]), 'of one length'),
        (dict(thresholds=[0.5, float('nan')]), 'NaN or infinite'),
        (dict(lesion_scores=0.5), 'must be a list'),
        (dict(thresholds='abc'), 'could not convert'),
    ],
)
def test_damaged_films_are_named(change, words):
    sound = dict(film='1', patient='p', label=1, score=0.5, lesion_scores=[0.5])
    sound |= dict(thresholds=[0.5, 0.25], false_positives=[0, 1])
    content = dict(format_version=1, films=[sound, sound | change])
    with pytest.raises(ValueError, match=rf'a\.json: films\[1\] is damaged \(.*{words}'):
        read_records(content, 'a.json')
    del sound['patient']
    with pytest.raises(ValueError, match=r"films\[0\] is damaged \(no 'patient'\)"):
        read_records(content, 'a.json')


@pytest.mark.parametrize(
    'content', [[], None, dict(format_version=1), dict(format_version=1, films={})]
)
def test_what_is_no_file_of_records(content):
    with pytest.raises(ValueError, match='no records of format 1'):
        read_records(content)
