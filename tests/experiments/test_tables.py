# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import METRIC_DEFAULTS, METRIC_OPTIONS
from mmfrac.evaluation.functional.froc import ImageResult
from mmfrac.evaluation.metrics.files import write_records
from mmfrac.experiments.benchmark import load_benchmark
from mmfrac.experiments.results import RunResult
from mmfrac.experiments.selection import chosen_value, final_runs, missing_values
from mmfrac.experiments.tables import (
    compare,
    comparison_table,
    interval_text,
    mean_of_drawn_seeds,
    plot_comparison,
    time_text,
    write_report,
)

BENCHMARK = """
name = 'toy'
data_root = 'data/toy'
pretraining = dict(config='a.py')
methods = dict(
    ours=dict(config='a.py', label='Ours'), other=dict(config='a.py', label='Other', search=False)
)
reference = 'ours'
search = dict(setting='model.x', values=[1.0, 3.0], seed=0)
"""


@pytest.fixture
def benchmark(tmp_path):
    (tmp_path / 'toy.py').write_text(BENCHMARK)
    return load_benchmark(tmp_path / 'toy.py')


def run(tmp_path, method, seed, value=None, share=1.0, validation=0.5, patient='p{}', fold=''):
    """A model that finds the lesion of a share of 40 positive films, and marks nothing else."""
    films = []
    for film in range(80):
        positive = film < 40
        hit = positive and film < 40 * share
        boxes = [[1, 1, 3, 3]] if positive else []
        prob_map = np.zeros((4, 4), np.float32)
        prob_map[2, 2] = 0.9 if hit else 0.01
        record = froc.image_record(prob_map, boxes)
        # each negative has a false positive of 0.5, so a lesion of 0.01 is found at FPPI 0.5 only
        if not positive:
            prob_map[2, 2] = 0.5
            record = froc.image_record(prob_map, boxes)
        films.append(
            ImageResult(
                f'{film}{fold}', patient.format(film), int(positive), record.image_score, record
            )
        )
    write_records(tmp_path / 'records.json', films, METRIC_DEFAULTS, 1.0)
    curve = froc.froc_curve([film.record for film in films])
    test = {
        'frac/AUROC': froc.auroc([f.label for f in films], [f.score for f in films]),
        'frac/FROC': float(froc.froc_score(curve)),
        'frac/Recall@0.1': float(froc.recall_at(curve, 0.1)),
    }
    return RunResult(
        benchmark='toy',
        method=method,
        seed=seed,
        value=value,
        fingerprint='0',
        epoch=2,
        steps=10,
        seconds=1.0,
        validation={'frac/AUROC': validation},
        test=test,
        epochs={'sharpening/m': {1: 0.4, 2: 0.6}, 'sharpening/t': {1: 0.3, 2: 0.5}},
        records=json.loads((tmp_path / 'records.json').read_text()),
    )


@pytest.fixture
def runs(tmp_path):
    return [
        run(tmp_path, 'ours', 0, 1.0, share=0.9, validation=0.7),
        run(tmp_path, 'ours', 0, 3.0, share=1.0, validation=0.6),
        run(tmp_path, 'ours', 1, 1.0, share=1.0),
        run(tmp_path, 'other', 0, share=0.6),
        run(tmp_path, 'other', 1, share=0.6),
    ]


def test_the_value_is_chosen_on_validation(benchmark, runs):
    ours, other = benchmark.methods.values()
    assert chosen_value(benchmark, ours, runs) == 1.0
    assert chosen_value(benchmark, other, runs) is None
    assert [(r.seed, r.value) for r in final_runs(benchmark, runs)['ours']] == [(0, 1.0), (1, 1.0)]
    with pytest.raises(ValueError, match=r'lacks the runs of \[3.0\]'):
        chosen_value(benchmark, ours, runs[:1])


def test_a_method_is_left_out_until_its_search_is_complete(benchmark, runs):
    ours, other = benchmark.methods.values()
    assert missing_values(benchmark, ours, runs) == missing_values(benchmark, other, []) == []
    assert missing_values(benchmark, ours, [runs[0], *runs[2:]]) == [3.0]
    (row,) = compare(benchmark, [runs[0], *runs[2:]])
    assert row.method == 'other' and np.isnan(row.difference['FROC'])


def test_a_search_by_folds_is_judged_on_all_of_them(tmp_path):
    (tmp_path / 'toy.py').write_text(BENCHMARK.replace('seed=0)', 'seed=0, folds=2)'))
    folded = load_benchmark(tmp_path / 'toy.py')
    ours = folded.methods['ours']

    def of_fold(value, fold, share):
        # what the images of the other fold reached in training does not count
        one = run(tmp_path, 'ours', 0, value, share, 1 - share, patient=f'{fold}-{{}}', fold=fold)
        return replace(one, fold=fold)

    searched = [
        of_fold(1.0, 0, 0.9),
        of_fold(1.0, 1, 0.2),
        of_fold(3.0, 0, 0.7),
        of_fold(3.0, 1, 0.6),
    ]
    assert chosen_value(folded, ours, searched) == 3.0
    assert missing_values(folded, ours, searched[:-1]) == [3.0]
    # runs of all training images do not stand for folds, nor folds for them
    final = run(tmp_path, 'ours', 0, 3.0)
    assert missing_values(folded, ours, [*searched[:-1], final]) == [3.0]
    tempting = run(tmp_path, 'ours', 0, 1.0, share=1.0)
    assert chosen_value(folded, ours, [*searched, tempting]) == 3.0
    assert final_runs(folded, searched) == {}
    assert final_runs(folded, [*searched, final]) == {'ours': [final]}
    assert {one.name for one in searched[:2]} == {'ours-1-seed0-fold0', 'ours-1-seed0-fold1'}


def test_a_method_may_have_a_search_of_its_own(tmp_path):
    text = BENCHMARK.replace('search=False', "search=dict(setting='model.y', values=[2, 4, 8])")
    (tmp_path / 'own.py').write_text(text)
    ours, other = (own := load_benchmark(tmp_path / 'own.py')).methods.values()
    assert (own.setting(ours), own.values(ours)) == ('model.x', (1.0, 3.0))
    assert (own.setting(other), own.values(other)) == ('model.y', (2, 4, 8))
    assert missing_values(own, other, [run(tmp_path, 'other', 0, 4)]) == [2, 8]
    (tmp_path / 'own.py').write_text(text.replace('values=[2', 'value=[2'))
    with pytest.raises(ValueError, match=r"method other has the keys \['setting', 'value'\]"):
        load_benchmark(tmp_path / 'own.py')


def test_mean_spread_and_paired_difference(benchmark, runs):
    ours, other = compare(benchmark, runs)
    # FROC: 0.9 and 1.0 of the lesions, the rest reached linearly towards FPPI 0.5
    assert ours.mean['FROC'] == pytest.approx(
        np.mean([runs[0].test['frac/FROC'], runs[2].test['frac/FROC']])
    )
    assert ours.spread['Recall@0.1'] == pytest.approx(
        np.std([r.test['frac/Recall@0.1'] for r in (runs[0], runs[2])], ddof=1)
    )
    assert other.difference['FROC'] == pytest.approx(ours.mean['FROC'] - other.mean['FROC'])
    assert 0 < other.low['FROC'] < other.difference['FROC'] < other.high['FROC']
    assert np.isnan(ours.difference['FROC']) and other.spread['FROC'] == 0


def test_seeds_are_drawn_with_replacement():
    # two seeds, 0 and 1: a quarter of the replicates draws one of them twice
    values = np.repeat([[0.0], [1.0]], 4000, axis=1)
    drawn = mean_of_drawn_seeds(values, seed=0)
    shares = [np.mean(drawn == mean) for mean in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    # each replicate keeps its patients
    replicates = np.tile(np.arange(10.0), (3, 1))
    assert np.array_equal(mean_of_drawn_seeds(replicates, seed=0), np.arange(10.0))
    # variance of a mean of k drawn values: that of the values over k
    values = np.random.default_rng(0).normal(size=(5, 1)).repeat(20000, axis=1)
    assert mean_of_drawn_seeds(values, 1).var() == pytest.approx(values[:, 0].var() / 5, rel=0.05)


def test_intervals_over_seeds_and_patients(benchmark, runs):
    both = replace(benchmark, intervals='seeds and patients')
    narrow, wide = compare(benchmark, runs)[1], compare(both, runs)[1]
    # our seeds differ by a tenth of the lesions
    assert wide.high['FROC'] - wide.low['FROC'] > narrow.high['FROC'] - narrow.low['FROC']
    assert wide.difference == narrow.difference
    # with one seed there is nothing to draw
    once = [one for one in runs if one.seed == 0]
    assert compare(both, once)[1].low == compare(benchmark, once)[1].low
    text = interval_text(both, compare(both, runs))
    assert 'over seeds and patients' in text and text.endswith('one method is compared')
    two = [*runs, *(replace(one, method='third') for one in runs if one.method == 'other')]
    methods = both.methods | dict(third=replace(both.methods['other'], name='third'))
    text = interval_text(both, compare(replace(both, methods=methods), two))
    assert '2 methods are compared, none is widened' in text and 'Bonferroni: 97.50 %' in text
    assert interval_text(benchmark, compare(benchmark, runs)) == ''


def test_unknown_intervals(tmp_path):
    (tmp_path / 'toy.py').write_text(BENCHMARK + "intervals = 'seeds'")
    with pytest.raises(ValueError, match='intervals must be one of'):
        load_benchmark(tmp_path / 'toy.py')


def test_the_interval_counts_patients_not_films(benchmark, tmp_path):
    wide = {}
    for patient in ('p{}', 'p'):
        runs = [
            run(tmp_path, 'ours', 0, 1.0, 1.0, 0.7, patient),
            run(tmp_path, 'ours', 0, 3.0, 1.0, 0.6, patient),
            run(tmp_path, 'other', 0, None, 0.6, 0.5, patient),
        ]
        other = compare(benchmark, runs)[1]
        wide[patient] = other.high['FROC'] - other.low['FROC']
    # all films of one patient: every replicate is the set itself
    assert wide['p'] == pytest.approx(0) and wide['p{}'] > 0.05


def test_table(benchmark, runs):
    rows = compare(benchmark, runs)
    lines = comparison_table(rows, 'ours').splitlines()
    assert lines[0] == (
        '| method | AUROC | FROC | Recall@0.1 | FROC: Ours ahead by | AUROC: Ours ahead by | seeds |'
    )
    assert lines[2].startswith('| Ours | ') and lines[2].endswith(' |  |  | 2 |')
    difference, low, high = (
        100 * getattr(rows[1], p)['FROC'] for p in ('difference', 'low', 'high')
    )
    assert f'| {difference:+.2f} ({low:+.2f} to {high:+.2f}) |' in lines[3]


def test_without_runs_of_the_reference_nothing_is_compared(benchmark, runs):
    rows = compare(benchmark, [one for one in runs if one.method == 'other'])
    header, _, row = comparison_table(rows, 'ours').splitlines()
    assert 'ahead' not in header and header.count('|') == row.count('|')
    assert interval_text(replace(benchmark, intervals='seeds and patients'), rows) == ''


def test_time_of_the_seed_with_most_methods(benchmark, tmp_path):
    runs = [
        replace(run(tmp_path, method, seed, value), seconds=seconds)
        for method, seed, value, seconds in (
            ('ours', 0, 1.0, 3600),
            ('ours', 0, 3.0, 1800),
            ('ours', 1, 3.0, 3600),
            ('other', 1, None, 7200),
        )
    ]
    head = 'Training, validation included: '
    assert time_text(benchmark, runs).startswith(f'{head}seed 1, 2 of 2 methods, 3.0 h one after')
    assert time_text(benchmark, runs).endswith('that they go on from not counted')
    alone = time_text(replace(benchmark, pretraining=None), runs[:3])
    assert alone == f'{head}seed 0, 1 of 2 methods in 2 runs, 1.5 h one after another'
    assert time_text(benchmark, []) == ''
    path = write_report(benchmark, 'x', METRIC_DEFAULTS, tmp_path, time=alone)
    assert path.read_text().endswith(f'\n\n{alone}\n')


def test_another_reference_has_a_table_of_its_own(benchmark, runs, tmp_path):
    ours, other = compare(replace(benchmark, reference='other'), runs)
    assert np.isnan(other.difference['FROC'])
    other_way = compare(benchmark, runs)[1].difference['FROC']
    assert ours.difference['FROC'] == pytest.approx(-other_way)
    assert write_report(benchmark, 'x', METRIC_DEFAULTS, tmp_path).name == 'table.md'
    assert write_report(benchmark, 'y', METRIC_DEFAULTS, tmp_path, 'ours').name == 'table.md'
    path = write_report(benchmark, 'z', METRIC_DEFAULTS, tmp_path, 'other')
    assert path.name == 'table_other.md' and 'z' in path.read_text()
    assert path.read_text().startswith('toy, test films\n')
    last = path.read_text().splitlines()[-1]
    assert 'crossing first' in last and 'targets 0.1, 0.2, 0.3, 0.4, 0.5' in last


def test_figures(benchmark, runs, tmp_path):
    names = [path.name for path in plot_comparison(benchmark, runs, tmp_path / 'plots')]
    assert names == ['froc.png', 'spread.png', 'sharpening_epochs.png']
    for name in names:
        # figures of lines: a palette will do, and they are kept in version control
        with Image.open(tmp_path / 'plots' / name) as picture:
            assert picture.mode == 'P' and len(set(picture.get_flattened_data())) > 10


def test_what_pseudo_maps_hold_is_the_mean_of_common_epochs(benchmark, runs, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        'mmfrac.experiments.tables.plot_spread',
        lambda path, values, measured, name: drawn.update(values=values, measured=measured) or path,
    )
    monkeypatch.setattr('mmfrac.experiments.tables._shrink', lambda path: None)
    for one, recall in zip((runs[0], runs[2]), ({1: 0.2, 2: 0.4}, {2: 0.6})):
        one.epochs['truth/lesion_recall'] = recall
    plot_comparison(benchmark, runs, tmp_path)
    # the run of another value of the search is none of the method's
    froc_of = [runs[index].test['frac/FROC'] for index in (0, 2)]
    assert drawn['values']['Ours'] == froc_of and len(drawn['values']) == 2
    assert drawn['measured'] == {'lesions that pseudo maps hold': {'Ours': {2: pytest.approx(0.5)}}}


def test_different_films_are_refused(benchmark, runs, tmp_path):
    runs[3] = run(tmp_path, 'other', 0, patient='q{}')
    with pytest.raises(ValueError, match='different test films'):
        compare(benchmark, runs)


@pytest.mark.parametrize('lesions', [0, 2])
def test_the_same_films_with_other_lesions_are_refused(benchmark, runs, lesions):
    films = [dict(one) for one in runs[4].records['films']]
    films[0]['lesion_scores'] = films[0]['lesion_scores'][:1] * lesions
    runs[4] = replace(runs[4], records=dict(runs[4].records, films=films), test={})
    with pytest.raises(ValueError, match=r"labels or lesions.*'ours, seed 0', 'other, seed 1'"):
        compare(benchmark, runs)


def test_runs_of_another_benchmark_are_refused(benchmark, runs):
    runs[3] = replace(runs[3], benchmark='quarter')
    with pytest.raises(ValueError, match=r"other-seed0 is a run of the benchmark 'quarter'"):
        compare(benchmark, runs)


@pytest.mark.filterwarnings('ignore:recall is NaN')
def test_films_without_a_lesion_have_a_table_and_no_curves(benchmark, runs, tmp_path):
    def without_lesions(one):
        films = [dict(film, lesion_scores=[]) for film in one.records['films']]
        test = one.test | {f'frac/{name}': math.nan for name in ('FROC', 'Recall@0.1')}
        return replace(one, records=dict(one.records, films=films), test=test)

    none = [without_lesions(one) for one in runs]
    rows = compare(benchmark, none)
    ours, other = comparison_table(rows, 'ours').splitlines()[2:]
    assert ours.split(' | ')[2:4] == ['n/a', 'n/a'] and other.split(' | ')[4] == ''
    assert 0 < rows[1].low['AUROC'] < rows[1].difference['AUROC']
    written = plot_comparison(benchmark, none, tmp_path)
    assert [path.name for path in written] == ['sharpening_epochs.png']


def test_a_difference_says_how_many_seeds_it_has(benchmark, runs):
    both = replace(benchmark, intervals='seeds and patients')
    assert 'compared over' not in interval_text(benchmark, compare(benchmark, runs))
    # ours has the seed 0 alone
    fewer = [runs[0], runs[1], *runs[3:]]
    rows = compare(both, fewer)
    assert rows[1].seeds == (0, 1) and rows[1].common == (0,)
    how, seeds = interval_text(both, rows).split('\n\n')
    assert 'Intervals: 95 % each, over patients, paired' in how
    assert seeds == 'Other: compared over 1 of its 2 seeds, those that the reference has'
    assert interval_text(benchmark, rows) == seeds
    # none in common: there is no difference, and a word that says why
    apart = compare(both, [*runs[:2], runs[4]])
    assert interval_text(both, apart).startswith('Other: compared over 0 of its 1 seeds')
    # of two methods one has two seeds
    third = replace(both.methods['other'], name='third', label='Third')
    three = replace(both, methods=both.methods | dict(third=third))
    text = interval_text(three, compare(three, [*runs, replace(runs[3], method='third')]))
    assert 'over seeds and patients' in text
    assert 'over patients alone where one seed is compared (Third); 2 methods' in text


def test_nan_on_validation_is_below_all_others(benchmark, runs):
    ours = benchmark.methods['ours']
    low, high = runs[:2]
    low.validation['frac/AUROC'] = math.nan
    assert chosen_value(benchmark, ours, runs) == 3.0
    high.validation['frac/AUROC'] = math.nan
    with pytest.raises(ValueError, match=r'search of ours cannot choose: frac/AUROC is NaN'):
        chosen_value(benchmark, ours, runs)
    other = replace(benchmark, select='frac/FROC')
    with pytest.raises(ValueError, match=r"'frac/FROC', which ours-1-seed0 .* \['frac/AUROC'\]"):
        chosen_value(other, ours, runs)


@pytest.mark.parametrize(
    'change, message',
    [
        ("reference = 'nobody'", 'none of its methods'),
        ("methods = dict(ours=dict(label='x'))", 'needed is config'),
        ('del methods', 'lacks'),
        ('del pretraining', 'no pretraining'),
        ('methods = [1]', 'methods is of another type'),
        ('methods = dict(ours=5)', 'method ours is of another type'),
        ("reference = ['ours']", 'reference is of another type'),
        ('search = 5', 'search is of another type'),
        ("search = dict(setting='a', values=5)", 'values of the search is of another type'),
        ("search = dict(setting='a', values=['b'])", 'values of the search is of another type'),
        ("search = dict(setting='a', values=[1], seed='b')", 'seed of the search is of another'),
        ('pretraining = 3', 'pretraining is of another type'),
        ('amp = 1', 'amp is of another type'),
        ("intervals = ['patients']", 'intervals is of another type'),
        ("intervalls = 'patients'", r'intervalls is no field .* did you mean intervals\?'),
        ('last_epochs = True', r'did you mean last_epoch\?'),
        ("Select = 'frac/FROC'", r'did you mean select\?'),
        (
            "search = dict(setting='a', values=[1], seeds=2)",
            r"'seeds', .* allowed \['folds', 'seed'",
        ),
        ('search = dict(values=[1])', 'needed are setting and values'),
        ("search = dict(setting='a', values=[])", 'needed are setting and values'),
        ("search = dict(setting='', values=[1])", 'needed are setting and values'),
        ('search = dict(setting=3, values=[1])', 'setting of the search is of another type'),
        (
            "methods['ours']['search'] = dict(setting='a', values=[])",
            'search of method ours has the',
        ),
        ("methods['ours']['search'] = None", 'search of method ours is of another type'),
        ("methods['ours']['pretrained'] = 'no'", 'pretrained of method ours is of another type'),
        ("methods['ours']['label'] = 3", 'label of method ours is of another type'),
        ("methods['ours']['options'] = [1]", 'options of method ours is of another type'),
        ("pretraining['changes'] = 3", 'changes of method pretraining is of another type'),
        ("methods['ours']['label'] = 'Other'", "two methods have the label 'Other'"),
        (
            "search['values'] = [0.1234567, 0.1234568]",
            r'two runs have the name ours-0\.123457-seed0',
        ),
        ("methods['pretraining'] = dict(methods['other'], label='x')", 'name pretraining-seed0'),
    ],
)
def test_a_wrong_benchmark_file_is_refused(tmp_path, change, message):
    (tmp_path / 'wrong.py').write_text(BENCHMARK + change)
    with pytest.raises(ValueError, match=message):
        load_benchmark(tmp_path / 'wrong.py')
    with pytest.raises(FileNotFoundError, match='no benchmark file'):
        load_benchmark(tmp_path / 'missing.py')


def test_helpers_of_a_benchmark_file_are_its_own(tmp_path):
    helpers = "for method in methods.values():\n    method['config'] = 'b.py'\nshelf = small = 3\n"
    # no field is a list or a function
    helpers += "names = ['ours']\nsearches = references = (1, 2)\nintervalls = 'x{}'.format\n"
    helpers += 'def data_roots():\n    return 1\n'
    (tmp_path / 'toy.py').write_text(BENCHMARK + helpers + 'search = dict()\n')
    read = load_benchmark(tmp_path / 'toy.py')
    assert read.methods['ours'].config == 'b.py' and read.values(read.methods['ours']) == (None,)


def test_other_definitions_are_refused(benchmark, runs, tmp_path):
    best = dict(METRIC_DEFAULTS.as_dict(METRIC_OPTIONS), crossing='best')
    runs[3] = replace(runs[3], records=dict(runs[3].records, definitions=best, max_fppi=None))
    words = r'ours, seed 0 and other, seed 0 cannot .*crossing first and best'
    with pytest.raises(ValueError, match=words):
        compare(benchmark, runs)
    with pytest.raises(ValueError, match=words):
        plot_comparison(benchmark, runs, tmp_path)


def test_records_that_end_too_early_are_refused(benchmark, runs):
    # each negative image has a false positive of 0.5: FPPI 0.5
    runs[3] = replace(runs[3], records=dict(runs[3].records, max_fppi=0.4))
    with pytest.raises(ValueError, match=r'other, seed 0: the records are cut at FPPI 0\.4'):
        compare(benchmark, runs)
