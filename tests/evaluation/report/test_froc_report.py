# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.operating_point import Target
from mmfrac.evaluation.offline.ground_truth import GroundTruth, TrueImage, read_ground_truth
from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import SavedPredictions, open_predictions
from mmfrac.evaluation.offline.summary import summarise
from mmfrac.evaluation.report import ReportInputs, write_report
from mmfrac.evaluation.report import page as report_page
from mmfrac.evaluation.report.page import worst_false_positives, worst_misses
from mmfrac.evaluation.report.tables import as_text
from mmfrac.utils.io import note_written
from tests.evaluation.offline.prediction_files import (
    FILMS,
    prob_maps,
    write_coco,
    write_maps,
    write_truth,
)
from tests.visualization.browser import open_browser

DEFINITIONS = Definitions(replicates=50, seed=4)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Summary and report of maps and of a box detector, with the films at hand but for one."""
    folder = tmp_path_factory.mktemp('report')
    truth = read_ground_truth(write_truth(folder / 'test.json'))
    saved = {
        'ours': open_predictions(write_maps(folder / 'maps', prob_maps()), truth),
        'RetinaNet <R-50>': open_predictions(write_coco(folder / 'r.json'), truth),
    }
    results = {
        name: evaluate_predictions(truth, predictions, DEFINITIONS)
        for name, predictions in saved.items()
    }
    rng = np.random.default_rng(0)
    for name, *_ in FILMS[1:]:
        path = folder / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (32, 40), np.uint8))
    summary = summarise(results, DEFINITIONS, [Target('fppi', 0.5), Target('sensitivity', 1)])
    inputs = ReportInputs(
        str(folder / 'test.json'), saved, folder / 'images', 'froc.py --x', {'mmfrac': '9.8.7'}
    )
    return summary, write_report(folder / 'out', summary, inputs, num_overlays=3), results


def test_files(made):
    _, written, _ = made
    names = [path.name for path in written]
    assert sorted(names) == [
        'curves.csv',
        'froc.json',
        'froc_linear.png',
        'froc_linear.svg',
        'froc_log.png',
        'froc_log.svg',
        'metrics.csv',
        'reliability.png',
        'reliability.svg',
        'report.html',
    ]
    assert sorted(path.name for path in written[0].parent.glob('[!.]*')) == sorted(names)


@pytest.mark.parametrize('name', ['metrics.csv', 'froc.json', 'report.html', 'froc_linear.png'])
def test_files_of_the_user_are_not_replaced(made, tmp_path, name):
    summary, *_ = made
    inputs = ReportInputs('test.json', {}, None, 'froc.py', {})
    (tmp_path / name).write_text('years of work')
    with pytest.raises(ValueError, match=f'{name} is there and was not written by mmfrac'):
        write_report(tmp_path, summary, inputs, html=True)
    assert (tmp_path / name).read_text() == 'years of work'


def test_files_of_an_earlier_report_do_not_stay(made, tmp_path):
    summary, *_ = made
    inputs = ReportInputs('test.json', {}, None, 'froc.py', {})
    for name in ('report.html', 'reliability.svg'):
        note_written(tmp_path, [name])
        (tmp_path / name).write_text('of another model')
    bare = replace(
        summary,
        models={name: replace(one, calibration={}) for name, one in summary.models.items()},
    )
    (tmp_path / 'reliability.png').write_text('mine')
    note_written(tmp_path, [])
    with pytest.raises(ValueError, match=r'reliability\.png is there and was not written'):
        write_report(tmp_path, bare, inputs, html=False)
    (tmp_path / 'reliability.png').unlink()
    write_report(tmp_path, bare, inputs, html=False)
    assert not {'report.html', 'reliability.svg'} & {path.name for path in tmp_path.iterdir()}


def test_json_and_csv_name_values_and_definitions(made):
    _, written, results = made
    folder = written[0].parent
    content = json.loads((folder / 'froc.json').read_text())
    assert content['definitions']['replicates'] == 50
    assert content['definitions']['crossing'] == 'first'
    assert content['inputs']['predictions']['ours']['run']['checkpoint'] == 'tiny.pth'
    assert content['inputs']['versions'] == {'mmfrac': '9.8.7'}
    curve = froc.froc_curve(results['ours'].measured)
    model = content['models']['ours']
    assert model['metrics']['FROC']['value'] == froc.froc_score(curve)
    assert model['curve']['fppi'] == froc.curve_until(curve, 8.0).fppi.tolist()
    assert {group['name'] for group in model['groups']['site']} == {'rib', 'clavicle'}
    with (folder / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    by_name = {(row['model'], row['part'], row['metric']): row for row in rows}
    assert float(by_name['ours', 'all', 'FROC']['value']) == froc.froc_score(curve)
    assert all('seed=4' in row['definitions'] for row in rows)
    assert {'source', 'sex', 'site', 'lesion size', 'operating point'} <= {r['part'] for r in rows}
    with (folder / 'curves.csv').open() as file:
        points = [row for row in csv.DictReader(file) if row['model'] == 'ours']
    assert [float(point['fppi']) for point in points] == model['curve']['fppi']


def test_text_has_a_column_a_model(made):
    summary, _, _ = made
    lines = as_text(summary).splitlines()
    assert lines[0].split() == ['metric', 'ours', 'RetinaNet', '<R-50>']
    model = summary.models['ours'].metrics['AUROC']
    assert f'{model.value:.3f} [{model.low:.3f}, {model.high:.3f}]' in lines[1]
    assert lines[-1].startswith('definitions: source auto, connectivity 8, denominator all')
    assert any(line.endswith('(DeLong)') for line in lines)
    assert any('sensitivity=1' in line and 'no threshold reaches it' in line for line in lines)


def test_worst_films(made):
    _, _, results = made
    boxes = results['RetinaNet <R-50>']
    assert worst_false_positives(boxes, 2) == [(1, 0.625), (0, 0.5)]
    assert worst_misses(boxes, 5) == [(1, 0.0), (0, 0.75)]


class Page(HTMLParser):
    """Tables by id, pictures, captions, and whatever the page would load."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.pictures, self.loads = {}, [], []
        self._table = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'table':
            self._table = self.tables.setdefault(attrs.get('id', f'{len(self.tables)}'), [])
        if tag == 'tr':
            self._table.append([])
        if tag in ('td', 'th'):
            self._cell = ''
        if tag == 'img':
            self.pictures.append(attrs)
        self.loads += [attrs[key] for key in ('src', 'href') if key in attrs]

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self._table[-1].append(self._cell)
            self._cell = None


def test_overlays_show_what_was_measured(monkeypatch):
    prob_map = np.zeros((8, 8), np.float32)
    prob_map[1, 1] = prob_map[2, 2] = 0.75  # touch at a corner
    boxes, scores = np.array([[4.0, 4, 8, 8]]), np.array([0.625])
    prediction = ImagePrediction('a.png', boxes, scores, None, prob_map, (1.0, 1.0))
    none = np.zeros((0, 4))
    image = TrueImage('a.png', 1, (8, 8), 0, True, 'x', 'p', none, ())
    monkeypatch.setattr(report_page, 'read_radiograph', lambda path: np.zeros((8, 8), np.float32))
    drawn = []
    monkeypatch.setattr(
        report_page,
        'draw_overlay',
        lambda *args: drawn.append(args) or np.zeros((8, 8, 3), np.uint8),
    )
    found = {
        (8, 'auto'): [[1, 1, 3, 3]],
        (4, 'auto'): [[1, 1, 2, 2], [2, 2, 3, 3]],
        (8, 'boxes'): [[4, 4, 8, 8]],
    }
    for (connectivity, source), expected in found.items():
        definitions = Definitions(connectivity=connectivity, source=source)
        saved = SavedPredictions('maps', 'folder', {'a.png': lambda: prediction}, {})
        results = evaluate_predictions(GroundTruth('t.json', [image], (1,)), saved, definitions)
        worst = worst_false_positives(results, 1)
        list(
            report_page.draw_findings(
                worst, results, saved, lambda score: 0.5, Path('.'), definitions
            )
        )
        _, cells, _, _, instances, *_ = drawn[-1]
        assert instances['bboxes'].tolist() == expected
        assert (cells is None) == (source == 'boxes')
        (record,) = results.records
        assert record.false_positives_at(0.5) == len(expected)


def test_page_in_a_real_browser(made, tmp_path):
    summary, written, _ = made
    browser = open_browser(tmp_path / 'profile')
    report = written[-1]
    page = Page(browser.dom(report))
    # nothing but the file itself
    assert page.loads and all(url.startswith('data:image/') for url in page.loads)
    rows = {row[0]: row[1:] for row in page.tables['metrics']}
    assert rows['metric'] == ['ours', 'RetinaNet <R-50>']
    for name, estimate in summary.models['ours'].metrics.items():
        assert rows[name][0].startswith(f'{estimate.value:.3f}')
    assert dict(page.tables['definitions'])['seed'] == '4'
    assert len(page.tables['differences']) == 1 + len(summary.differences)
    titles = [picture.get('alt', '') for picture in page.pictures]
    assert {'froc linear', 'froc log', 'reliability'} <= set(titles)
    assert any(title.startswith('false positives: a/2.png') for title in titles)
    assert any(title.startswith('misses: a/2.png') for title in titles)
    # the film that is not there is named, without a picture
    assert not any('a/1.png' in title for title in titles)
    assert re.search(r'a/1\.png, score [\d.]+ \(', report.read_text())
    picture = cv2.imread(str(browser.screenshot(report, tmp_path / 'page.png', height=5000)))
    assert picture.shape == (5000, 1280, 3)
    # curves in the first two colours of the palette, the green of missed lesions
    for bgr in ((178, 114, 0), (0, 94, 213)):
        near = (np.abs(picture.astype(int) - bgr) <= 30).all(axis=2)
        assert near.sum() > 50, bgr
    blue, green, red = np.moveaxis(picture.astype(int), 2, 0)
    assert ((green > 120) & (green - red > 60) & (green - blue > 60)).sum() > 50


def test_without_films_the_page_says_so(made, tmp_path):
    summary, _, _ = made
    truth = read_ground_truth(write_truth(tmp_path / 'test.json'))
    saved = {
        'ours': open_predictions(write_maps(tmp_path / 'maps', prob_maps()), truth),
        'RetinaNet <R-50>': open_predictions(write_coco(tmp_path / 'r.json'), truth),
    }
    again = write_report(tmp_path / 'out', summary, ReportInputs('test.json', saved))
    assert 'data-root was not given' in again[-1].read_text()
