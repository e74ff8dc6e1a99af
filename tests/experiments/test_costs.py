# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
from dataclasses import asdict, replace

import pytest
from mmengine.config import Config

from mmfrac.engine.costs.model_costs import ModelCosts
from mmfrac.experiments.benchmark import Folders, load_benchmark
from mmfrac.experiments.costs import measure_costs, read_costs
from mmfrac.experiments.tables import ComparisonRow, comparison_table
from tests.tools.tiny_run import ROOT, write_config

COSTS = ModelCosts(
    'a.py', 2_340_000, 3_000_000, 1.234, 0.456, 0.0789, 100 * 2**20, 4, [3, 8, 8], 'cpu', 1
)
BENCHMARK = """
name = 'toy'
data_root = 'unused'
methods = dict(ours=dict(config={config!r}, label='Ours', pretrained=False))
reference = 'ours'
"""


def row(method):
    values = dict.fromkeys(('AUROC', 'FROC', 'Recall@0.1'), 0.5)
    return ComparisonRow(method, method.title(), (0,), None, 1, 1.0, *[values] * 5)


def test_costs_are_columns_of_the_table():
    table = comparison_table([row('ours'), row('other')], 'ours', dict(ours=COSTS)).splitlines()
    assert table[0].endswith('| seeds | params M | GFLOPs | s a step | s a film | peak MiB |')
    assert table[1].count('---') == table[0].count('|') - 1
    assert table[2].endswith('| 1 | 2.34 | 1.23 | 0.46 | 0.079 | 100 |')
    assert table[3].endswith('| 1 |  |  |  |  |  |')
    assert 'GFLOPs' not in comparison_table([row('ours')], 'ours')


@pytest.mark.slow
def test_costs_of_a_method_are_measured_and_others_are_kept(tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data)
    (tmp_path / 'toy.py').write_text(BENCHMARK.format(config=str(config)) + 'amp = True\n')
    folders = Folders(ROOT, tiny_data, tmp_path / 'work', tmp_path / 'results')
    assert read_costs(folders.results) == {}
    folders.results.mkdir()
    kept = dict(other=asdict(COSTS), ours=asdict(replace(COSTS, params=1)))
    (folders.results / 'costs.json').write_text(json.dumps(kept))
    benchmark = load_benchmark(tmp_path / 'toy.py')
    costs = measure_costs(
        benchmark, folders, benchmark.chosen(None), steps=1, report=lambda line: None
    )
    assert costs == read_costs(folders.results) and costs['other'] == COSTS
    assert costs['ours'].config == str(config)
    # what the benchmark trains: in mixed precision
    measured = Config.fromfile(folders.work_dir / 'costs/ours/config.py')
    trained = benchmark.build_config(benchmark.methods['ours'], ROOT, 0)
    assert measured.optim_wrapper == trained.optim_wrapper
    assert costs['ours'].params > 1000 and costs['ours'].train_step_seconds > 0


def test_costs_that_another_command_writes_meanwhile_are_kept(tiny_data, tmp_path, monkeypatch):
    config = write_config(tmp_path, tiny_data)
    (tmp_path / 'toy.py').write_text(BENCHMARK.format(config=str(config)))
    folders = Folders(ROOT, tiny_data, tmp_path / 'work', tmp_path / 'results')

    def measure_all(*arguments, **options):
        folders.results.mkdir()
        text = json.dumps(dict(other=asdict(COSTS)))
        (folders.results / 'costs.json').write_text(text)
        return [COSTS]

    monkeypatch.setattr('mmfrac.experiments.costs.measure_all', measure_all)
    benchmark = load_benchmark(tmp_path / 'toy.py')
    costs = measure_costs(benchmark, folders, benchmark.chosen(None), report=str)
    assert costs == read_costs(folders.results) and set(costs) == {'other', 'ours'}


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / 'costs.json').write_text('{"ours": {"params": 1}}')
    with pytest.raises(ValueError, match=r'costs\.json is no file of compare_methods'):
        read_costs(tmp_path)
