# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
from dataclasses import replace

import numpy as np
import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import METRIC_DEFAULTS
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_figures,
    bootstrap_recalls,
    patient_weights,
)
from mmfrac.evaluation.metrics.files import pool_records, read_records, write_records
from tests.evaluation.metrics.test_frac_metric import LESION, evaluate, sample


def random_results(seed=0, films=12):
    rng = np.random.default_rng(seed)
    results = []
    for film in range(films):
        boxes = [[8, 8, 24, 24]] if film % 2 else []
        record = froc.image_record(rng.random((24, 24), dtype=np.float32) ** 8, boxes, (2.0, 2.0))
        results.append(
            froc.ImageResult(str(film), f'p{film // 2}', film % 2, record.image_score, record)
        )
    return results


def test_recalls_of_the_file_are_those_of_the_records(tmp_path):
    results = random_results()
    write_records(tmp_path / 'records.json', results, METRIC_DEFAULTS)
    text = (tmp_path / 'records.json').read_text()
    read = read_records(json.loads(text)).images
    before, after = ([result.record for result in some] for some in (results, read))
    assert sum(r.thresholds.size for r in after) < sum(r.thresholds.size for r in before) / 4
    fppi = (0.1, 0.5, 1.0)
    curves = [froc.froc_curve(records) for records in (before, after)]
    assert np.array_equal(*(froc.recall_at(curve, fppi) for curve in curves))
    weights = patient_weights([result.patient_id for result in results], 200)
    # a replicate can take the worst film several times, so at half the bound only
    assert np.array_equal(*(bootstrap_recalls(r, weights, fppi[:2]) for r in (before, after)))
    for result, other in zip(results, read):
        assert (result.img_id, result.patient_id, result.label) == (
            other.img_id,
            other.patient_id,
            other.label,
        )
        assert np.float32(result.score) == np.float32(other.score)


def test_max_fppi_bounds_what_is_kept(tmp_path):
    results = random_results()
    sizes = []
    for max_fppi in (0.5, 2.0, 1e9):
        write_records(tmp_path / 'records.json', results, METRIC_DEFAULTS, max_fppi)
        read = read_records(json.loads((tmp_path / 'records.json').read_text())).images
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
    read = read_records(content).images
    assert [result.img_id for result in read] == ['a', 'b', 'c']
    assert [result.patient_id for result in read] == ['p1', 'p1', '/films/c.png']
    assert read[0].record.lesion_scores.tolist() == [0.75]
    assert read[0].record.false_positives.tolist() == [1]
    assert read[1].record is None and read[1].score == 0.25
    assert [path.name for path in tmp_path.iterdir()] == ['records.json']


def test_an_evaluation_replaces_the_files_of_an_earlier_one_alone(tmp_path):
    files = {key: str(tmp_path / f'{key}.json') for key in ('out_file', 'records_file')}
    found = []
    for score in (0.75, 0.5):
        evaluate([sample('a', 1, lesions=[LESION], cells=[(4, 4, score)]), sample('c', 0)], **files)
        content = json.loads((tmp_path / 'records_file.json').read_text())
        found.append(read_records(content).images[0].record.lesion_scores.item())
    assert found == [0.75, 0.5]
    for key in files:
        other = tmp_path / f'other_{key}.json'
        other.write_text('{"mine": 1}')
        with pytest.raises(ValueError, match=r'it is not replaced'):
            evaluate([sample('c', 0)], **(files | {key: str(other)}))
        assert other.read_text() == '{"mine": 1}'


def test_limits_that_are_none():
    for more in (dict(max_fppi=10**400), dict(max_fppi=float('nan')), dict(max_fppi=True)):
        with pytest.raises(ValueError, match=r'max_fppi .* is damaged'):
            read_records(dict(format_version=1, films=[]) | more, 'a.json')
    for more in (dict(targets=[10**400]), dict(recall_fppi=[10**400])):
        with pytest.raises(ValueError, match='its definitions are damaged'):
            read_records(dict(format_version=1, films=[], definitions=more), 'a.json')


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
        (dict(thresholds=[0.25, 0.5]), 'must descend'),
        (dict(thresholds=[0.5, -0.25]), 'none is below 0'),
        (dict(thresholds=['0.5', '0.25']), 'thresholds must be numbers'),
        (dict(lesion_scores=[True]), 'lesion_scores must be numbers'),
        (dict(false_positives=[0, -1]), 'must be counts'),
        (dict(false_positives=[0, 0.7]), 'must be counts'),
        *[(dict(film=value), 'film is') for value in (None, [], {}, 1.5, True)],
        *[(dict(patient=value), 'patient is') for value in (None, [], {}, 1.5, True)],
        *[(dict(label=value), 'label is') for value in (True, 1.0)],
        (dict(score=True), 'score is True'),
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


def written(tmp_path, results, definitions, max_fppi=2.0):
    write_records(tmp_path / 'records.json', results, definitions, max_fppi)
    return read_records(json.loads((tmp_path / 'records.json').read_text()), 'records.json')


@pytest.mark.parametrize('crossing', ['first', 'best'])
@pytest.mark.parametrize('denominator', ['all', 'negatives'])
def test_a_file_holds_what_its_definitions_ask_for(tmp_path, crossing, denominator):
    definitions = replace(
        METRIC_DEFAULTS, crossing=crossing, denominator=denominator, recall_fppi=(0.1, 3.0)
    )
    results = random_results()
    # every false positive of the images with lesions comes first: FPPI of the others is passed later
    results = [
        result if result.label == 0 else replace(result, record=replace_thresholds(result.record))
        for result in results
    ]
    records = written(tmp_path, results, definitions, 0.0)
    assert records.definitions == definitions
    records.check(definitions)
    assert froc.figures(records.images, definitions)[0] == froc.figures(results, definitions)[0]
    if crossing == 'best':
        assert records.max_fppi is None and records.lowest == 0
    else:
        assert records.max_fppi == 3 and records.lowest > 0


def replace_thresholds(record):
    counts = record.false_positives
    return froc.ImageRecord(
        np.linspace(1, 0.9, counts.size, dtype=np.float32),
        np.arange(1, counts.size + 1),
        record.lesion_scores,
        record.image_score,
    )


def test_more_than_a_file_holds_is_an_error(tmp_path):
    records = written(tmp_path, random_results(), METRIC_DEFAULTS, 1.0)
    records.check(replace(METRIC_DEFAULTS, targets=(1.0,)))
    records.check(replace(METRIC_DEFAULTS, interpolation='step'))
    for change, words in (
        (dict(targets=(0.5, 1.5)), 'cut at FPPI 1, FPPI 1.5 is asked for'),
        (dict(recall_fppi=(1.5,)), 'FPPI 1.5 is asked for'),
        (dict(crossing='best'), "for crossing='best' .* evaluate anew"),
        (dict(denominator='negatives'), "denominator='negatives' evaluate anew"),
        (dict(connectivity=4), 'connectivity 8 and 4'),
        (dict(source='boxes'), 'source auto and boxes'),
    ):
        with pytest.raises(ValueError, match=rf'records\.json.*{words}'):
            records.check(replace(METRIC_DEFAULTS, **change))
    # nothing was cut off where the images have fewer false positives than that
    whole = written(tmp_path, random_results(), METRIC_DEFAULTS, 1e9)
    assert whole.lowest == 0
    whole.check(replace(METRIC_DEFAULTS, crossing='best', denominator='negatives', targets=(1e12,)))


def test_a_replicate_that_needs_what_was_cut_off_is_an_error(tmp_path):
    records = written(tmp_path, random_results(), METRIC_DEFAULTS, 0.5)
    weights = np.ones((2, len(records.images)), int)
    bootstrap_figures(records.images, weights, METRIC_DEFAULTS, records.lowest)
    # without the images that have the false positives down to there
    ends = [image.record.thresholds.size for image in records.images]
    weights[1] = np.where(np.array(ends) > 0, 0, 5)
    weights[1, 1] = 1
    with pytest.raises(ValueError, match=r'has not passed FPPI 0\.5: evaluate anew'):
        bootstrap_figures(records.images, weights, METRIC_DEFAULTS, records.lowest)


def test_records_without_definitions_are_those_of_the_defaults(tmp_path):
    write_records(tmp_path / 'records.json', random_results(), METRIC_DEFAULTS)
    content = json.loads((tmp_path / 'records.json').read_text())
    assert content['definitions']['crossing'] == 'first' and content['max_fppi'] == 2
    del content['definitions']
    assert read_records(content).definitions == METRIC_DEFAULTS
    with pytest.raises(ValueError, match="max_fppi 'x' is damaged"):
        read_records(content | dict(max_fppi='x'))


def test_pooled_sets_are_exact_as_far_as_each_is(tmp_path):
    whole = [random_results(seed) for seed in (0, 1)]
    parts = [
        written(tmp_path, results, METRIC_DEFAULTS, end) for results, end in zip(whole, (4, 8))
    ]
    pooled = pool_records(parts, 'all folds')
    assert pooled.max_fppi == 2 and len(pooled.images) == 24
    asked = replace(METRIC_DEFAULTS, targets=(0.5, 1.0, 2.0))
    pooled.check(asked)
    assert froc.figures(pooled.images, asked)[0] == froc.figures([*whole[0], *whole[1]], asked)[0]
    with pytest.raises(ValueError, match=r'all folds.* FPPI 2\.5 is asked for'):
        pooled.check(replace(METRIC_DEFAULTS, targets=(2.5,)))
    other = written(tmp_path, whole[0], replace(METRIC_DEFAULTS, crossing='best'))
    with pytest.raises(ValueError, match='crossing first and best'):
        pool_records([parts[0], other], 'all folds')
