# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from dataclasses import replace

import numpy as np
import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.bootstrap import interval
from mmfrac.evaluation.functional.operating_point import Target
from mmfrac.evaluation.functional.roc import delong_test
from mmfrac.evaluation.offline import estimates as breakdown
from mmfrac.evaluation.offline.estimates import draw, estimate_metrics
from mmfrac.evaluation.offline.ground_truth import TrueImage
from mmfrac.evaluation.offline.model_results import ModelResults
from mmfrac.evaluation.offline.summary import summarise

FEW = Definitions(replicates=60, seed=3, recall_fppi=(0.5, 1.0))


def results(seed, num_films=40, part='test'):
    """Random films of two sources, two a patient, every second one with lesions."""
    rng = np.random.default_rng(seed)
    films, records = [], []
    for index in range(num_films):
        boxes = np.array([[1, 1, 4, 5], [6, 3, 9, 8]][: index % 3 if index % 2 else 0], float)
        boxes = boxes.reshape(-1, 4)
        prob_map = (rng.random((9, 11)) ** 6 * rng.uniform(0.2, 1)).round(3)
        for x1, y1, x2, y2 in boxes.astype(int):
            prob_map[(y1 + y2) // 2, (x1 + x2) // 2] = rng.random()
        films.append(
            TrueImage(
                f'{part}/{index}.png',
                index,
                (9, 11),
                int(len(boxes) > 0),
                True,
                'hospital' if index % 4 < 2 else 'public',
                f'p{index // 2}',
                boxes,
                ('rib', 'clavicle')[: len(boxes)],
                dict(sex='FM'[index % 2]) if index else {},
            )
        )
        records.append(froc.image_record(prob_map, boxes))
    labels = np.array([film.label for film in films])
    scores = np.array([record.image_score for record in records])
    return ModelResults(films, labels, scores, records, ('prob_map',))


@pytest.fixture(scope='module')
def summary():
    models = dict(ours=results(0), other=results(1))
    targets = [Target('fppi', 0.5), Target('sensitivity', 0.5), Target('sensitivity', 1)]
    validation = dict(ours=results(2, part='val'), other=results(3, part='val'))
    return summarise(models, FEW, targets, validation)


def test_values_are_those_of_the_films_and_intervals_those_of_the_replicates(summary):
    model = summary.models['ours']
    films = model.results
    curve = froc.froc_curve(films.records)
    expected = {
        'AUROC': froc.auroc(films.labels, films.scores),
        'FROC': froc.froc_score(curve),
        'Recall@0.5': froc.recall_at(curve, 0.5),
        'Recall@1': froc.recall_at(curve, 1.0),
    }
    for name, value in expected.items():
        assert model.metrics[name].value == value
    weights = draw(films, FEW)
    estimate = model.metrics['FROC']
    repeated = [record for record, n in zip(films.records, weights[5]) for _ in range(n)]
    assert estimate.replicates[5] == pytest.approx(froc.froc_score(froc.froc_curve(repeated)))
    assert (estimate.low, estimate.high) == interval(estimate.replicates)
    assert estimate.low <= estimate.value <= estimate.high
    # films of a patient are drawn together, unless asked otherwise
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    alone = draw(films, Definitions(cluster='film', replicates=60))
    assert (alone[:, ::2] != alone[:, 1::2]).any()


def test_differences_are_paired(summary):
    ours, other = (summary.models[name] for name in ('ours', 'other'))
    found = {(item.metric, item.method): item.test for item in summary.differences}
    assert set(found) == {(name, 'bootstrap') for name in ours.metrics} | {('AUROC', 'DeLong')}
    test = found['FROC', 'bootstrap']
    assert test.difference == ours.metrics['FROC'].value - other.metrics['FROC'].value
    differences = ours.metrics['FROC'].replicates - other.metrics['FROC'].replicates
    assert (test.low, test.high) == pytest.approx(interval(differences))
    patients = [image.patient for image in ours.results.images]
    assert found['AUROC', 'DeLong'] == delong_test(
        ours.results.labels, ours.results.scores, other.results.scores, 0.95, patients
    )


def test_thresholds_come_from_validation(summary):
    assert summary.chosen_on == 'validation'
    points = {str(point.target): point for point in summary.models['ours'].points}
    point = points['fppi=0.5']
    curve = froc.froc_curve(results(2).records)
    place = np.flatnonzero(curve.thresholds == point.threshold)
    assert place.size == 1 and curve.fppi[place[0]] <= 0.5
    assert point.on_own['fppi'] == curve.fppi[place[0]]
    own = summary.models['ours'].results.records
    achieved = sum(record.false_positives_at(point.threshold) for record in own) / len(own)
    assert point.achieved['fppi'].value == achieved
    assert point.achieved['fppi'].low <= achieved <= point.achieved['fppi'].high
    assert points['sensitivity=0.5'].on_own['recall'] >= 0.5
    again = summarise(dict(ours=results(0)), FEW, [Target('fppi', 0.5)])
    assert again.chosen_on == 'test' and again.models['ours'].points[0].on_own['fppi'] <= 0.5


def test_temperature_comes_from_validation(summary):
    model = summary.models['ours']
    assert set(model.calibration) == {'as it is', 'with temperature'}
    assert model.temperature != summary.models['other'].temperature
    alone = summarise(dict(ours=results(0)), FEW)
    assert set(alone.models['ours'].calibration) == {'as it is'}
    assert alone.models['ours'].temperature is None


def test_parts_of_the_films_are_as_if_there_were_no_others(summary):
    groups = {group.name: group for group in summary.models['ours'].groups['source']}
    assert set(groups) == {'hospital', 'public'}
    films = results(0)
    chosen = np.array([film.source == 'public' for film in films.images])
    alone = [record for record, is_in in zip(films.records, chosen) if is_in]
    group = groups['public']
    assert group.num_images == chosen.sum() == 20
    assert group.metrics['FROC'].value == froc.froc_score(froc.froc_curve(alone))
    assert group.metrics['AUROC'].value == froc.auroc(films.labels[chosen], films.scores[chosen])
    assert set(group.metrics) == {'AUROC', 'FROC', 'Recall@0.5'}
    sexes = [group.name for group in summary.models['ours'].groups['sex']]
    assert sexes == ['F', 'M', 'unknown']
    assert 'age' not in summary.models['ours'].groups


@pytest.mark.parametrize('denominator', ['all', 'negatives'])
def test_parts_of_the_lesions_keep_the_false_positives_of_all_films(denominator):
    films = results(0)
    definitions = Definitions(replicates=40, denominator=denominator, recall_fppi=(0.5,))
    sites = [film.sites for film in films.images]
    weights = draw(films, definitions)
    groups = {g.name: g for g in breakdown.lesion_groups(films, sites, weights, definitions)}
    total = sum(group.num_lesions for group in groups.values())
    assert total == sum(len(film.boxes) for film in films.images)
    whole = estimate_metrics(films, weights, definitions)['Recall@0.5']
    # recalls of the parts make up that of all lesions, in every replicate too
    shares = [group.num_lesions / total for group in groups.values()]
    recalls = [group.metrics['Recall@0.5'] for group in groups.values()]
    assert np.dot(shares, [recall.value for recall in recalls]) == pytest.approx(whole.value)
    lesions = np.array([[names.count(name) for names in sites] for name in groups], np.float64)
    drawn = lesions @ weights.T
    mixed = sum(n * recall.replicates for n, recall in zip(drawn, recalls)) / drawn.sum(axis=0)
    np.testing.assert_allclose(mixed, whole.replicates, atol=1e-12)


def test_sizes_are_thirds_of_the_lesions():
    films = [
        TrueImage('a', 1, (100, 100), 1, True, 's', 'p', np.array([[0, 0, x, x]]), ('rib',))
        for x in (2.0, 4, 8, 16, 32, 64)
    ]
    parts, (low, high) = breakdown.size_parts(films)
    assert [names[0] for names in parts] == ['small'] * 2 + ['medium'] * 2 + ['large'] * 2
    assert 0.04 < low < 0.08 and 0.16 < high < 0.32
    assert breakdown.size_parts([]) == ([], pytest.approx((np.nan, np.nan), nan_ok=True))


def test_ages_come_in_bands():
    films = [
        TrueImage('a', 1, (1, 1), 0, True, 's', 'p', np.zeros((0, 4)), (), fields)
        for fields in ({'age': 39.5}, {'age': 40}, {'age': '81'}, {'age': 'x'}, {})
    ]
    parts = breakdown.image_parts(films, 'age')
    assert parts == ['0 to under 40', '40 to under 60', '80 and over', 'unknown', 'unknown']
    assert breakdown.image_parts(films, 'sex') is None
    films = [
        TrueImage('a', 1, (1, 1), 0, True, 's', 'p', np.zeros((0, 4)), (), dict(age=age))
        for age in ('039Y', '040Y', '480M', '479M', '014D', '085Y', '45Y')
    ]
    bands = [part.split()[0] for part in breakdown.image_parts(films, 'age')]
    assert bands == ['0', '40', '40', '0', '0', '80', 'unknown']


def test_without_lesions_or_regions_there_is_nan_and_no_error():
    films = results(0)
    none = ModelResults(films.images, films.labels, films.scores, [None] * 40, ())
    metrics = summarise(dict(ours=none), FEW, [Target('fppi', 0.5)]).models['ours'].metrics
    assert np.isfinite(metrics['AUROC'].value)
    for name in ('FROC', 'Recall@0.5', 'AFROC', 'wAFROC'):
        assert np.isnan(metrics[name].value) and np.isnan(metrics[name].low)


@pytest.mark.parametrize(
    'change',
    [
        dict(source='maps'),
        dict(connectivity=6),
        dict(crossing='last'),
        dict(targets=()),
        dict(cluster='hospital'),
        dict(level=95),
        dict(replicates=0),
        dict(afroc_films='positives'),
        dict(calibration_kind='area'),
    ],
)
def test_definitions_are_checked(change):
    with pytest.raises(ValueError):
        Definitions(**change)


def test_models_and_validation_must_match():
    with pytest.raises(ValueError, match='no model'):
        summarise({}, FEW)
    with pytest.raises(ValueError, match='same models'):
        summarise(dict(ours=results(0)), FEW, (), dict(other=results(1)))


def test_thresholds_are_not_chosen_on_the_test_images():
    with pytest.raises(ValueError, match=r'30 of 30 validation images .* .test/0\.png'):
        summarise(dict(ours=results(0)), FEW, (), dict(ours=results(1, 30)))
    # of another hospital, some of whose names are the same
    other = results(1)
    # numbered alike
    images = [replace(image, label=1 - image.label) for image in other.images[:20]]
    other = replace(other, images=[*images, *other.images[20:]])
    assert summarise(dict(ours=results(0)), FEW, (), dict(ours=other)).chosen_on == 'validation'
