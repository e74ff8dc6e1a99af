# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Boxes in another form, off their image, or of other categories."""

import json

import numpy as np
import pytest

from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.evaluation.definitions import METRIC_DEFAULTS
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.evaluation.metrics.save_predictions import SavePredictions
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.image_prediction import (
    ImagePrediction,
    PredictionError,
    misread_boxes,
)
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import open_predictions
from tests.tools.tiny_run import ROOT, start

SIZE = (200, 160)
NAMES = {1: 'fracture', 2: 'nodule', 5: 'device'}


def write_truth(folder):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(20):
        label = int(index < 12)
        image = dict(id=index + 1, file_name=f'{index}.png', width=SIZE[0], height=SIZE[1])
        # label and regions follow from the boxes of the chosen categories
        images.append(image | dict(patient_id=f'p{index}'))
        for category in (1, 2) if label else ():
            if category == 1 or index % 2:
                x, y = rng.integers(0, 160), rng.integers(0, 120)
                box = dict(bbox=[int(x), int(y), 30, 20], area=600, iscrowd=0)
                annotations.append(
                    box | dict(id=len(annotations) + 1, image_id=index + 1, category_id=category)
                )
    categories = [dict(id=key, name=name) for key, name in NAMES.items()]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'truth.json').write_text(json.dumps(content))
    return folder / 'truth.json', content


def detections(content):
    """Boxes (x, y, w, h) near the lesions and elsewhere, with scores, as COCO results."""
    rng = np.random.default_rng(1)
    found = []
    for one in content['annotations']:
        box = [float(value) for value in np.array(one['bbox']) + rng.integers(-3, 3, 4)]
        score = float(rng.uniform(0.3, 1))
        found.append(
            dict(image_id=one['image_id'], category_id=one['category_id'], bbox=box, score=score)
        )
    for image in content['images']:
        for category in (1, 2):
            box = [float(rng.integers(0, 170)), float(rng.integers(0, 130)), 25.0, 25.0]
            score = float(rng.uniform(0, 0.8))
            found.append(dict(image_id=image['id'], category_id=category, bbox=box, score=score))
    return found


@pytest.fixture
def made(tmp_path):
    path, content = write_truth(tmp_path)
    return read_ground_truth(path), detections(content), tmp_path


def as_xyxy(x, y, w, h):
    return [x, y, x + w, y + h]


def as_shares(x, y, w, h):
    return [x / SIZE[0], y / SIZE[1], w / SIZE[0], h / SIZE[1]]


def as_shares_xyxy(x, y, w, h):
    return as_shares(*as_xyxy(x, y, w, h))


def of_the_network_input(x, y, w, h):
    return [value * 1024 / 200 for value in (x, y, w, h)]


def moved(x, y, w, h):
    return [x + 150, y, w, h]


def negative(x, y, w, h):
    return [x - 100, y - 100, w, h]


FORMS = {
    as_xyxy: 'boxes reach beyond their image, and nearly all fit as x1, y1, x2, y2',
    as_shares: r'lie in \[0, 1\], as shares of the image',
    as_shares_xyxy: r'lie in \[0, 1\], as shares of the image',
    of_the_network_input: r'not of the network input',
    moved: '(lies off the film|boxes leave their film)',
    negative: '(lies off the film|boxes leave their film)',
}


@pytest.mark.parametrize('change', FORMS)
def test_coco_results_in_another_form(made, change):
    truth, found, folder = made
    rows = [one | dict(bbox=change(*one['bbox'])) for one in found]
    (folder / 'r.json').write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=FORMS[change]):
        evaluate_predictions(truth, open_predictions(folder / 'r.json', truth), METRIC_DEFAULTS)
    # as they are they are right
    (folder / 'r.json').write_text(json.dumps(found))
    evaluate_predictions(truth, open_predictions(folder / 'r.json', truth), METRIC_DEFAULTS)


def table(folder, rows):
    lines = ['image_id,x1,y1,x2,y2,score,category']
    lines += [
        ','.join(map(str, (one['image_id'], *box, one['score'], NAMES[one['category_id']])))
        for one, box in rows
    ]
    (folder / 'r.csv').write_text('\n'.join(lines))
    return folder / 'r.csv'


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda *box: box, 'have x1 > x2 or y1 > y2, and nearly all fit as x, y, width, height'),
        (as_shares_xyxy, r'lie in \[0, 1\]'),
        (as_shares, r'lie in \[0, 1\]'),
        (lambda *box: as_xyxy(*moved(*box)), '(lies off the film|boxes leave their film)'),
        (lambda *box: as_xyxy(*of_the_network_input(*box)), r'not of the network input'),
    ],
)
def test_tables_in_another_form(made, change, words):
    truth, found, folder = made
    path = table(folder, [(one, change(*one['bbox'])) for one in found])
    with pytest.raises(ValueError, match=words):
        evaluate_predictions(truth, open_predictions(path, truth), METRIC_DEFAULTS)
    path = table(folder, [(one, as_xyxy(*one['bbox'])) for one in found])
    saved = open_predictions(path, truth)
    evaluate_predictions(truth, saved, METRIC_DEFAULTS)
    assert saved.others == {'nodule': sum(one['category_id'] == 2 for one in found)}


@pytest.mark.parametrize('column', ['class', 'Category_ID', 'label', 'class_name'])
def test_categories_in_a_column_of_another_name(made, column):
    truth, found, folder = made
    path = table(folder, [(one, as_xyxy(*one['bbox'])) for one in found])
    path.write_text(path.read_text().replace('category', column, 1))
    match = f"columns '{column}' are not read, and boxes of all categories would count"
    with pytest.raises(ValueError, match=match):
        open_predictions(path, truth)


def test_boxes_that_are_there_twice_are_one_detection(made):
    truth, found, folder = made
    (folder / 'once.json').write_text(json.dumps(found))
    (folder / 'twice.json').write_text(json.dumps(found + found))
    once, twice = (open_predictions(folder / f'{name}.json', truth) for name in ('once', 'twice'))
    lesions = sum(one['category_id'] == 1 for one in found)
    assert (once.num_repeated, twice.num_repeated) == (0, lesions)
    one, two = (evaluate_predictions(truth, saved, METRIC_DEFAULTS) for saved in (once, twice))
    for record, other in zip(one.measured, two.measured, strict=True):
        assert record.false_positives.tolist() == other.false_positives.tolist()


def samples_of(content, truth_file, found, classes):
    """What a detector of these classes hands to the metrics."""
    dataset = CXRDataset(
        ann_file=str(truth_file),
        metainfo=dict(classes=classes),
        check_files=False,
        test_mode=True,
        pipeline=[],
    )
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        own = [
            one
            for one in found
            if one['image_id'] == info['img_id'] and NAMES[one['category_id']] in classes
        ]
        boxes = np.array([as_xyxy(*one['bbox']) for one in own]).reshape(-1, 4)
        labels = np.array([classes.index(NAMES[one['category_id']]) for one in own], np.int64)
        scores = np.array([one['score'] for one in own])
        yield info | dict(pred_instances=dict(bboxes=boxes, scores=scores, labels=labels))


@pytest.mark.parametrize(
    'classes', [('fracture',), ('nodule',), ('fracture', 'nodule'), ('nodule', 'fracture')]
)
def test_classes_of_a_config_and_categories_of_the_tool_agree(made, classes):
    _, found, folder = made
    content = json.loads((folder / 'truth.json').read_text())
    samples = list(samples_of(content, folder / 'truth.json', found, classes))
    metric, writer = FracMetric(source='boxes'), SavePredictions(folder / 'saved')
    for one in (metric, writer):
        one.dataset_meta = dict(classes=classes)
        one.process(None, samples)
    metrics = metric.evaluate(len(samples))
    writer.evaluate(len(samples))
    truth = read_ground_truth(folder / 'truth.json', classes)
    (folder / 'r.json').write_text(json.dumps(found))
    csv = table(folder, [(one, as_xyxy(*one['bbox'])) for one in found])
    others = {}
    for name in NAMES.values():
        number = sum(NAMES[one['category_id']] == name for one in found)
        if number and name not in classes:
            others[name] = number
    for path in (folder / 'r.json', csv, folder / 'saved'):
        saved = open_predictions(path, truth)
        results = evaluate_predictions(truth, saved, METRIC_DEFAULTS)
        values, _ = froc.figures(results.results, METRIC_DEFAULTS)
        for key, value in values.items():
            assert metrics[f'frac/{key}'] == pytest.approx(float(value), abs=1e-6), (path, key)
        # a model of these classes has saved no other
        assert saved.others == ({} if path.is_dir() else others)


def test_boxes_of_a_saved_folder_are_chosen_by_category(made):
    _, found, folder = made
    content = json.loads((folder / 'truth.json').read_text())
    both = ('fracture', 'nodule')
    writer = SavePredictions(folder / 'saved')
    writer.dataset_meta = dict(classes=both)
    writer.process(None, list(samples_of(content, folder / 'truth.json', found, both)))
    writer.evaluate(20)
    (folder / 'r.json').write_text(json.dumps(found))
    for names in (['fracture'], ['nodule'], both):
        truth = read_ground_truth(folder / 'truth.json', names)
        values, others = [], []
        for path in (folder / 'saved', folder / 'r.json'):
            saved = open_predictions(path, truth)
            results = evaluate_predictions(truth, saved, METRIC_DEFAULTS)
            values.append(froc.figures(results.results, METRIC_DEFAULTS)[0])
            others.append(saved.others)
        assert others[0] == others[1]
        for key in values[0]:
            assert float(values[0][key]) == pytest.approx(float(values[1][key]), abs=1e-6)


def test_an_image_score_of_its_own_outlives_boxes_of_other_categories():
    boxes = np.array([[0, 0, 4, 4], [4, 4, 8, 8]], float)
    made = dict(img_path='a', boxes=boxes, box_classes=('nodule', 'fracture'))
    scores = np.array([0.9, 0.3], np.float32)
    own = ImagePrediction(**made, box_scores=scores, score=0.55)
    assert own.of_categories(['fracture'])[0].score == 0.55
    highest = ImagePrediction(**made, box_scores=scores, score=float(scores.max()))
    assert highest.of_categories(['fracture'])[0].score is None


def test_predictions_of_two_kinds_are_told(made, tmp_path):
    _, _, folder = made
    truth = read_ground_truth(folder / 'truth.json')
    names = [image.name for image in truth.images]
    rows = [f'{name},1,1,3,3,0.5' for name in names]
    table = tmp_path / 'r.csv'
    table.write_text('\n'.join(['film,x1,y1,x2,y2,score', *rows]))
    assert not evaluate_predictions(truth, open_predictions(table, truth), METRIC_DEFAULTS).notes
    table.write_text('\n'.join(['film,x1,y1,x2,y2,score', *rows, f'{names[0]},,,,,0.9']))
    (note,) = evaluate_predictions(truth, open_predictions(table, truth), METRIC_DEFAULTS).notes
    assert note.startswith(f'1 of {len(names)} films have an image score of their own')


@pytest.mark.slow
def test_the_tool_takes_several_categories_and_counts_the_others(made):
    _, found, folder = made
    found[0] |= dict(category_id=9)
    (folder / 'r.json').write_text(json.dumps(found))
    options = ['--replicates', 20, '--no-html', '--out', 'report']
    tool = ROOT / 'tools/analysis_tools/froc.py'
    done = start(tool, 'truth.json', 'm=r.json', *options, cwd=folder)
    number = sum(one['category_id'] == 2 for one in found)
    assert done.returncode == 0, done.stderr
    assert f'm: {number} boxes of category nodule left out' in done.stdout
    assert 'm: 1 boxes of category 9 (none of truth.json) left out' in done.stdout
    report = json.loads((folder / 'report/froc.json').read_text())
    assert report['inputs']['predictions']['m']['boxes_of_other_categories']['nodule'] == number
    both = ['--category', 'fracture', '--category', 'nodule']
    done = start(tool, 'truth.json', 'm=r.json', *both, *options, cwd=folder)
    assert done.returncode == 0 and 'category nodule' not in done.stdout
    done = start(tool, 'truth.json', 'm=r.json', '--category', 'rib', *options, cwd=folder)
    assert done.returncode == 1 and 'rib' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'field, value',
    [
        ('category_id', '1'),
        ('category_id', 1.0),
        ('category_id', True),
        ('category_id', None),
        ('category_id', [1]),
        ('bbox', [1, 2, 3]),
        ('bbox', ['1', '2', '3', '4']),
        ('bbox', [1, 2, 3, None]),
        ('bbox', [1, 2, 3, True]),
        ('bbox', 'abcd'),
        ('bbox', 7),
        ('bbox', {'x': 1, 'y': 2, 'w': 3, 'h': 4}),
        ('bbox', [1, 2, 3, 10**400]),
        ('score', 10**400),
        ('score', '0.5'),
        ('score', float('nan')),
        ('image_id', 1.0),
        ('image_id', '1'),
    ],
)
def test_fields_of_another_type(made, field, value):
    truth, found, folder = made
    found[3] |= {field: value}
    (folder / 'r.json').write_text(json.dumps(found))
    with pytest.raises(PredictionError) as raised:
        open_predictions(folder / 'r.json', truth)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize('text', ['[' * 100000, '{"a":' * 5000, '\x00', '', '[NaN', '"x"', '7'])
def test_what_is_no_list_of_results(made, text):
    truth, _, folder = made
    (folder / 'r.json').write_text(text)
    with pytest.raises(ValueError, match=r'r\.json'):
        open_predictions(folder / 'r.json', truth)


def test_a_detector_may_leave_its_boxes_uncut():
    sizes = np.array([[200, 160]] * 3)
    boxes = np.array([[190, 10, 15, 20], [20, 150, 30, 15], [100, 100, 20, 20]], float)
    assert misread_boxes(boxes, sizes, 'xywh') == ''
    assert misread_boxes(np.zeros((0, 4)), np.zeros((0, 2)), 'xywh') == ''
    # one box of the whole image is the same in both forms
    assert misread_boxes(np.array([[0.0, 0, 200, 160]]), sizes[:1], 'xywh') == ''
