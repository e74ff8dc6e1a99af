# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The tables in the READMEs are those of the committed runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import METRIC_DEFAULTS
from mmfrac.experiments.benchmark import load_benchmark
from mmfrac.experiments.costs import read_costs
from mmfrac.experiments.results import read_runs
from mmfrac.experiments.tables import compare, comparison_table, time_text
from tests.slow import slow_but

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BENCHMARKS = sorted(path for path in (CONFIGS / 'benchmarks').glob('*.py'))
PUBLISHED = [path for path in BENCHMARKS if (path.with_suffix('') / 'runs.jsonl.xz').is_file()]
# runs on the test films, and on folds of the others (--fold)
RESULTS = [
    (path, file.parent)
    for path in PUBLISHED
    for file in sorted(path.with_suffix('').glob('**/runs.jsonl.xz'))
]
NAMES = [str(folder.relative_to(CONFIGS / 'benchmarks')) for _, folder in RESULTS]


@pytest.mark.parametrize('path', slow_but(BENCHMARKS, BENCHMARKS[-1:]), ids=lambda path: path.stem)
def test_every_method_has_a_config(path):
    benchmark = load_benchmark(path)
    # the file's own name, not what a loop in it left under that name
    assert f"\nname = '{benchmark.name}'\n" in path.read_text()
    methods = [*benchmark.methods.values(), *filter(None, [benchmark.pretraining])]
    for method in methods:
        cfg = method.build_config(CONFIGS.parent, {'randomness.seed': 0})
        assert cfg.train_cfg.max_epochs > 0


@pytest.mark.slow
@pytest.mark.parametrize('path, folder', RESULTS, ids=NAMES)
def test_published_tables_are_those_of_the_runs(path, folder):
    benchmark, runs, costs = load_benchmark(path), read_runs(folder), read_costs(folder)
    assert {run.benchmark for run in runs} == {benchmark.name}
    files = sorted(folder.glob('table*.md'))
    assert folder / 'table.md' in files
    for file in files:
        reference = file.stem.partition('_')[2] or benchmark.reference
        rows = compare(replace(benchmark, reference=reference), runs)
        table = comparison_table(rows, reference, costs)
        assert table in file.read_text() and time_text(benchmark, runs) in file.read_text()
        assert file.read_text().startswith(f'{benchmark.name}, ')


def test_tables_of_the_guides_are_published():
    tables = [file.read_text() for file in (CONFIGS / 'benchmarks').glob('*/**/table*.md')]
    shown = [
        block.rstrip()
        for readme in CONFIGS.rglob('README.md')
        for block in readme.read_text().split('\n\n')
        if block.startswith('| method |') and ' ahead by |' in block
    ]
    assert shown
    for block in shown:
        assert any(block in table for table in tables), block[:200]


@pytest.mark.parametrize('folder', slow_but([folder for _, folder in RESULTS], [RESULTS[-1][1]]))
def test_records_give_the_published_metrics(folder):
    for run in read_runs(folder):
        records = run.test_records()
        # written before records named their definitions
        assert records.definitions == METRIC_DEFAULTS
        found, _ = froc.figures(records.images, records.definitions)
        for metric in ('AUROC', 'FROC', 'Recall@0.1'):
            assert found[metric] == pytest.approx(run.test[f'frac/{metric}'], abs=1e-9)
