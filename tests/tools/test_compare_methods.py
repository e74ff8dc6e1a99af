# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What compare_methods.py says of runs that are there, and of those that are not."""

import importlib.util
import sys

import pytest

from mmfrac.experiments.comparison import RunsFailed
from mmfrac.experiments.results import add_runs
from tests.experiments.test_tables import BENCHMARK, run
from tests.tools.tiny_run import ROOT

TOOL = ROOT / 'tools/analysis_tools/compare_methods.py'


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The tool as a module, and a call of it on a benchmark file."""
    spec = importlib.util.spec_from_file_location('compare_methods', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / 'toy.py').write_text(BENCHMARK + 'search = None\nlast_epoch = True\n')

    def call(*arguments):
        given = [str(tmp_path / 'toy.py'), '--work-dir', str(tmp_path / 'work'), *arguments]
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *given])
        module.main()

    return module, call


def test_what_failed_is_said_where_nothing_is_done(tool, monkeypatch):
    module, call = tool

    def run_benchmark(*arguments):
        raise RunsFailed('ours-seed0: no training here')

    monkeypatch.setattr(module, 'run_benchmark', run_benchmark)
    with pytest.raises(SystemExit, match=r'^all runs failed; .*\nours-seed0: no training here$'):
        call()


def test_the_table_of_a_fold_and_of_a_reference_without_runs(tool, tmp_path, capsys):
    _, call = tool
    folder = tmp_path / 'toy/fold1'
    add_runs(folder, [run(tmp_path, 'other', 0)])
    call('--tables-only', '--fold', '1')
    assert 'ours has no runs to compare with: the table has no diff' in capsys.readouterr().out
    assert (folder / 'table.md').read_text().startswith('toy, films of fold 1\n')
    call('--tables-only', '--fold', '1', '--reference', 'other')
    assert 'has no runs' not in capsys.readouterr().out
    assert (folder / 'table_other.md').read_text().startswith('toy, films of fold 1\n')


def test_runs_that_are_not_of_today_are_named_below_the_table(tool, tmp_path, monkeypatch, capsys):
    module, call = tool
    runs = [run(tmp_path, 'ours', 0), run(tmp_path, 'other', 1, 3.0)]
    add_runs(tmp_path / 'toy', runs)
    monkeypatch.setattr(module, 'make_films', lambda *_: None)
    monkeypatch.setattr(module, 'run_benchmark', lambda *_: None)
    found = []
    monkeypatch.setattr(module, 'outdated_runs', lambda *_: found)
    call()
    assert 'another config' not in capsys.readouterr().out
    found[:] = runs
    line = 'Runs of another config, other films or another epoch: '
    call()
    assert line in capsys.readouterr().out
    text = (tmp_path / 'toy/table.md').read_text()
    (said,) = (one for one in text.splitlines() if one.startswith(line))
    assert '(seed 0), ' in said and '(seed 1, value 3); the same command' in said
    # without the films nobody knows
    call('--tables-only')
    assert line not in capsys.readouterr().out + (tmp_path / 'toy/table.md').read_text()
