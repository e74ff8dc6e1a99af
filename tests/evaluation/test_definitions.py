# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every output says the same number, whatever the options."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmfrac.evaluation import FracMetric
from mmfrac.evaluation.definitions import (
    METRIC_DEFAULTS,
    METRIC_OPTIONS,
    Definitions,
    common_definitions,
)
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.bootstrap import bootstrap_figures
from mmfrac.evaluation.metrics.files import read_records, write_records
from mmfrac.evaluation.offline.estimates import draw, estimate_metrics
from mmfrac.evaluation.offline.ground_truth import GroundTruth, TrueImage
from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import SavedPredictions
from mmfrac.evaluation.offline.summary import summarise
from mmfrac.evaluation.report import curves
from mmfrac.evaluation.report.page import render_page
from mmfrac.evaluation.report.tables import as_plain, as_text
from mmfrac.evaluation.report.writing import ReportInputs
from mmfrac.experiments.benchmark import Benchmark, Method
from mmfrac.experiments.fold_summary import summarise_folds
from mmfrac.experiments.results import RunResult
from mmfrac.experiments.tables import (
    compare,
    comparison_table,
    plot_comparison,
    replicate_figures,
)

HEIGHT, WIDTH = 5, 6


class Image(NamedTuple):
    """An image with all that a model says of it; the map has a cell a px."""

    label: int
    regions: bool
    lesions: list
    ignored: list
    prob_map: np.ndarray | None
    boxes: list
    scores: list
    own_score: float | None = None


def as_boxes(rows) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, 4)


def sample_of(number: int, image: Image) -> dict:
    instances = [dict(bbox=box, ignore_flag=0) for box in image.lesions]
    instances += [dict(bbox=box, ignore_flag=1) for box in image.ignored]
    sample = dict(
        img_path=f'/x/{number}.png',
        img_id=number,
        patient_id=f'p{number // 2}',
        label=image.label,
        regions=image.regions,
        instances=instances,
        map_scale=(1.0, 1.0),
        pred_instances=dict(
            bboxes=torch.tensor(image.boxes, dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(image.scores, dtype=torch.float32),
        ),
    )
    if image.prob_map is not None:
        sample['pred_prob_map'] = dict(data=torch.from_numpy(image.prob_map)[None])
    if image.own_score is not None:
        sample['pred_score'] = torch.tensor(image.own_score)
    return sample


def offline_results(images: list[Image], definitions: Definitions):
    truth, readers = [], {}
    for number, image in enumerate(images):
        name = f'{number}.png'
        truth.append(
            TrueImage(
                name,
                number,
                (HEIGHT, WIDTH),
                image.label,
                image.regions,
                'a',
                f'p{number // 2}',
                as_boxes(image.lesions),
                ('rib',) * len(image.lesions),
                ignore_boxes=as_boxes(image.ignored),
            )
        )
        prediction = ImagePrediction(
            name,
            as_boxes(image.boxes),
            np.array(image.scores, np.float32),
            image.own_score,
            image.prob_map,
            None if image.prob_map is None else (1.0, 1.0),
        )
        readers[name] = partial(lambda found: found, prediction)
    saved = SavedPredictions('maps', 'folder', readers, {})
    return saved, evaluate_predictions(GroundTruth('test.json', truth, (1,)), saved, definitions)


def legend_scores(figure) -> dict[str, str]:
    texts = figure.axes[0].get_legend().get_texts()
    return dict(re.fullmatch(r'(.*)  \((.*)\)', text.get_text()).groups() for text in texts)


def is_on_line(line, x: float, y: float) -> bool:
    """Whether a line of (x, y) points passes through a point, or has ended before it at its height."""
    if len(line) == 1 and x == line[0, 0]:
        return y == pytest.approx(line[0, 1])
    if x > line[-1, 0]:
        return y == pytest.approx(line[-1, 1])
    for (x0, y0), (x1, y1) in pairwise(line):
        if x0 - 1e-9 <= x <= x1 + 1e-9:
            at = y0 + (x - x0) / (x1 - x0) * (y1 - y0) if x1 - x0 > 1e-9 else y
            if min(y0, y1) - 1e-9 <= y <= max(y0, y1) + 1e-9 and at == pytest.approx(y):
                return True
    return False


def check_every_output(images: list[Image], options: dict, folder: Path, monkeypatch) -> dict:
    drawn = []
    monkeypatch.setattr(curves, 'save_figure', lambda figure, out: drawn.append(figure) or out)
    monkeypatch.setattr('mmfrac.experiments.tables._shrink', lambda path: None)
    records_file = folder / 'records.json'
    metric = FracMetric(
        **options,
        out_file=str(folder / 'frac_test.json'),
        records_file=str(records_file),
        records_max_fppi=0.0,
    )
    metric.process(None, [sample_of(*item) for item in enumerate(images)])
    expected = metric.compute_metrics(metric.results)

    def agrees(found) -> None:
        assert {name: float(found[name]) for name in expected} == pytest.approx(
            expected, abs=1e-9, nan_ok=True
        )

    # the offline tool, its text and its page
    definitions = Definitions(**options, replicates=3)
    saved, results = offline_results(images, definitions)
    found = estimate_metrics(results, draw(results, definitions), definitions)
    agrees({name: estimate.value for name, estimate in found.items()})
    summary = summarise({'model': results}, definitions)
    inputs = ReportInputs('test.json', {'model': saved})
    plain = dict(as_plain(summary), inputs=inputs.as_plain())
    page = render_page(summary, plain, {}, {})
    lines = [line.split() for line in as_text(summary).splitlines()]
    for name, value in expected.items():
        said = f'{value:.3f}' if math.isfinite(value) else 'n/a'
        (cell,) = re.findall(rf'<tr><th>{re.escape(name)}</th><td>([^ *<]*)', page)
        assert cell == said
        assert next(line[1] for line in lines if line[:1] == [name]).rstrip('*') == said

    # a cross-validation of one fold, and the centre of the bootstrap, from records that end early
    content = json.loads(records_file.read_text())
    records = read_records(content, str(records_file))
    assert records.definitions == metric.definitions
    folds = summarise_folds([records], [], None, [1])
    agrees(folds.row('validation', 'pooled').metrics)
    once = np.ones((1, len(images)), int)
    centre = bootstrap_figures(records.images, once, records.definitions, records.lowest)
    agrees({name: values[0] for name, values in centre.items()})

    # a comparison: its value, its difference, its figure
    write_records(records_file, records_of(metric), metric.definitions, 1e9)
    content = json.loads(records_file.read_text())
    test = {f'frac/{name}': value for name, value in expected.items()}
    runs = [
        RunResult('toy', method, 0, None, '0', 1, 1, 1.0, {}, test, {}, content)
        for method in ('a', 'b')
    ]
    methods = {name: Method(name, 'c.py', name.upper()) for name in ('a', 'b')}
    benchmark = Benchmark('toy', 'data', None, None, methods, 'a', None, (), 0, 'frac/AUROC')
    rows = compare(benchmark, runs, num_replicates=3)
    agrees(rows[0].mean)
    drawn_for_interval = replicate_figures(runs[0].test_records(), 3, 0)
    agrees({name: values[0] for name, values in drawn_for_interval.items()})
    header = comparison_table(rows, 'a').splitlines()[0]
    assert all(f'| {name} |' in header for name in expected)
    for name, value in expected.items():
        if math.isfinite(value):
            assert rows[1].difference[name] == pytest.approx(0, abs=1e-12)
    if not math.isfinite(expected['FROC']):
        return expected

    # legends and lines
    said = f'{expected["FROC"]:.3f}'
    plot_comparison(benchmark, runs, folder)
    assert legend_scores(drawn[-1]) == {'A': said, 'B': said}
    curves.plot_run(folder, report=lambda line: None)
    run_figure = next(figure for figure in drawn[::-1] if figure.axes[0].get_legend())
    assert legend_scores(run_figure) == {'test': said}
    for figure in (drawn[-1], run_figure):
        line, marks, *_ = (one.get_xydata() for one in figure.axes[0].lines)
        assert marks[:, 1].mean() == pytest.approx(expected['FROC'])
        limit = figure.axes[0].get_xlim()[1]
        assert all(is_on_line(line, x, y) for x, y in marks if x <= limit)
    return expected


def records_of(metric: FracMetric):
    from mmfrac.evaluation.metrics.frac_metric import _image_result

    return [_image_result(result) for result in metric.results]


corners = st.tuples(*[st.integers(0, 5)] * 4).map(
    lambda c: [min(c[0], c[1]), min(c[2], c[3]), max(c[0], c[1]), max(c[2], c[3])]
)
levels = st.integers(0, 8).map(lambda level: level / 8)


@st.composite
def some_images(draw, needs_maps: bool):
    images = []
    for _ in range(draw(st.integers(2, 5))):
        lesions = draw(st.lists(corners, max_size=2))
        boxes = draw(st.lists(corners, max_size=4))
        cells = draw(st.lists(levels, min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH))
        prob_map = np.array(cells, np.float32).reshape(HEIGHT, WIDTH)
        images.append(
            Image(
                draw(st.sampled_from([-1, 1] if lesions else [0, 0, 1, -1])),
                draw(st.sampled_from([True, True, True, False])),
                lesions,
                draw(st.lists(corners, max_size=1)),
                prob_map if needs_maps or draw(st.booleans()) else None,
                boxes,
                draw(st.lists(levels, min_size=len(boxes), max_size=len(boxes))),
                draw(st.none() | levels),
            )
        )
    return images


fppi = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 1.0, 2.0]), min_size=1, max_size=3)
some_options = st.fixed_dictionaries(
    dict(
        source=st.sampled_from(['auto', 'prob_map', 'boxes']),
        connectivity=st.sampled_from([4, 8]),
        denominator=st.sampled_from(['all', 'negatives']),
        crossing=st.sampled_from(['first', 'best']),
        interpolation=st.sampled_from(['linear', 'step']),
        targets=fppi,
        recall_fppi=fppi,
    )
)


@pytest.mark.slow
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(options=some_options, data=st.data())
@pytest.mark.filterwarnings(
    'ignore:(recall|AUROC) is NaN', 'ignore:(invalid value|Degrees of freedom)'
)
def test_every_output_says_the_same(options, data, monkeypatch):
    images = data.draw(some_images(options['source'] == 'prob_map'))
    with TemporaryDirectory() as folder, monkeypatch.context() as patch:
        check_every_output(images, options, Path(folder), patch)


@pytest.mark.filterwarnings(
    'ignore:(recall|AUROC) is NaN', 'ignore:(invalid value|Degrees of freedom)'
)
def test_what_was_0_25_in_the_table_and_0_037_in_its_figure(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    images = []
    for number in range(8):
        prob_map = np.round(rng.random((HEIGHT, WIDTH)) ** 2 * 8).astype(np.float32) / 8
        lesions = [[1, 1, 3, 3]] if number % 2 else []
        images.append(Image(number % 2, True, lesions, [], prob_map, [], []))
    chosen = dict(crossing='best', denominator='negatives', targets=(0.25, 0.5, 1.0))
    found = check_every_output(images, chosen, tmp_path, monkeypatch)
    usual = FracMetric()
    usual.process(None, [sample_of(*item) for item in enumerate(images)])
    # the options matter here
    assert abs(usual.compute_metrics(usual.results)['FROC'] - found['FROC']) > 0.05


def peak(value: float) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), value, np.float32)


BOX = [[0, 0, 2, 2]]
WITH_MAPS = [
    Image(1, True, [], [], peak(0.75), BOX, [0.25], 0.625),
    Image(0, True, [], [], peak(0.875), BOX, [0.5], 0.5),
]
WITHOUT_ONE = [*WITH_MAPS, Image(0, True, [], [], None, BOX, [0.125], 0.5625)]


@pytest.mark.parametrize(
    ('source', 'images', 'scores', 'auroc'),
    [
        ('prob_map', WITH_MAPS, [0.625, 0.5], 1),
        ('auto', WITHOUT_ONE, [0.625, 0.5, 0.5625], 1),
        # no score but those of the boxes
        ('boxes', WITHOUT_ONE, [0.25, 0.5, 0.125], 0.5),
        ('prob_map', [one._replace(own_score=None) for one in WITH_MAPS], [0.75, 0.875], 0),
        ('auto', [one._replace(own_score=None) for one in WITHOUT_ONE], [0.75, 0.875, 0.125], 0.5),
        ('boxes', [one._replace(own_score=None) for one in WITHOUT_ONE], [0.25, 0.5, 0.125], 0.5),
    ],
)
@pytest.mark.filterwarnings('ignore:recall is NaN')
def test_the_image_score_is_the_same_online_and_offline(source, images, scores, auroc):
    metric = FracMetric(source=source)
    metric.process(None, [sample_of(*item) for item in enumerate(images)])
    _, offline = offline_results(images, Definitions(source=source))
    assert [result['score'] for result in metric.results] == scores == offline.scores.tolist()
    online = metric.compute_metrics(metric.results)['AUROC']
    assert online == froc.figures(offline.results, Definitions(source=source))[0]['AUROC'] == auroc


def test_an_own_score_is_no_score_of_boxes():
    images = [*WITH_MAPS, WITHOUT_ONE[2]._replace(own_score=None)]
    _, boxes = offline_results(WITHOUT_ONE, Definitions(source='boxes'))
    assert boxes.notes == ()
    _, both = offline_results(images, Definitions(source='auto'))
    assert '2 of 3 films have an image score of their own' in both.notes[1]


def test_definitions_survive_json():
    chosen = replace(METRIC_DEFAULTS, crossing='best', targets=(0.25, 1), connectivity=4)
    for field in ('definitions', 'options'):
        content = json.loads(json.dumps({field: chosen.as_dict(METRIC_OPTIONS)}))
        assert Definitions.from_json(content, 'a.json') == chosen
    assert Definitions.from_json({}, 'a.json') == METRIC_DEFAULTS
    with pytest.raises(ValueError, match=r"a\.json: unknown definitions \['matching'\]"):
        Definitions.from_json(dict(definitions=dict(matching='iou')), 'a.json')
    for damaged in (
        *(dict(crossing='last'), dict(targets=0.5), dict(targets=[]), dict(targets=[10**400])),
        dict(replicates=10**11),
    ):
        with pytest.raises(ValueError, match=r'a\.json: its definitions are damaged'):
            Definitions.from_json(dict(definitions=damaged), 'a.json')
    with pytest.raises(ValueError, match=r'a\.json: unknown definitions None'):
        Definitions.from_json(dict(definitions=None), 'a.json')


def test_the_metric_has_the_documented_defaults():
    assert FracMetric().definitions == METRIC_DEFAULTS
    assert METRIC_DEFAULTS.metric_names == ('AUROC', 'FROC', 'Recall@0.1')
    with pytest.raises(ValueError, match='of one name'):
        Definitions(recall_fppi=(0.1, 0.10000001))


@pytest.mark.parametrize('name', METRIC_OPTIONS)
def test_different_definitions_cannot_be_mixed(name):
    other = dict(
        source='boxes',
        connectivity=4,
        denominator='negatives',
        crossing='best',
        interpolation='step',
        targets=(0.25,),
        recall_fppi=(0.25,),
    )
    changed = replace(METRIC_DEFAULTS, **{name: other[name]})
    with pytest.raises(ValueError, match=rf'a\.json and b\.json cannot be compared.*{name}'):
        common_definitions([('a.json', METRIC_DEFAULTS), ('b.json', changed)])
    assert common_definitions([('a', changed), ('b', replace(changed, seed=3))]) == changed
