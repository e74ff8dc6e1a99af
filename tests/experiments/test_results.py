# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import lzma
from dataclasses import replace

import pytest

from mmfrac.evaluation.definitions import METRIC_DEFAULTS, METRIC_OPTIONS
from mmfrac.experiments.results import (
    RunResult,
    add_runs,
    read_result,
    read_runs,
    run_name,
    write_result,
)


def run(method, seed, value=None, epoch=2):
    return RunResult(
        benchmark='toy',
        method=method,
        seed=seed,
        value=value,
        fingerprint='0',
        epoch=epoch,
        steps=10,
        seconds=1.0,
        validation={'frac/AUROC': 0.5},
        test={'frac/AUROC': 0.1 + 0.2},
        epochs={'sharpening/m': {1: 0.4, 10: 0.6}},
    )


def test_names():
    assert run_name('ours', 3, None) == 'ours-seed3'
    assert [run('ours', 0, value).name for value in (1.0, 0.25, 10)] == [
        *('ours-1-seed0', 'ours-0.25-seed0', 'ours-10-seed0')
    ]


def test_runs_survive_their_file(tmp_path):
    runs = [run('b', 1, 1.0), run('b', 0, 1.0), run('a', 0)]
    with pytest.raises(FileNotFoundError, match=r'writes runs\.jsonl\.xz there'):
        read_runs(tmp_path / 'results')
    add_runs(tmp_path / 'results', runs)
    assert read_runs(tmp_path / 'results') == runs[::-1]


def test_the_same_runs_give_the_same_bytes(tmp_path):
    runs = [run('a', seed) for seed in range(3)]
    one = add_runs(tmp_path / 'one', runs)
    for result in reversed(runs):
        other = add_runs(tmp_path / 'other', [result])
    assert one.read_bytes() == other.read_bytes()
    # a line a run, for whoever has xz alone
    assert len(lzma.decompress(one.read_bytes()).splitlines()) == 3
    before = one.stat().st_mtime_ns
    add_runs(tmp_path / 'one', runs[1:])
    assert one.stat().st_mtime_ns == before


def test_a_run_takes_the_place_of_the_one_of_its_name(tmp_path):
    add_runs(tmp_path, [run('a', 0), run('a', 1)])
    add_runs(tmp_path, [run('a', 0, epoch=7)])
    assert [(one.seed, one.epoch) for one in read_runs(tmp_path)] == [(0, 7), (1, 2)]


def test_a_single_result(tmp_path):
    write_result(run('a', 0), tmp_path / 'result.json')
    assert read_result(RunResult, tmp_path / 'result.json') == run('a', 0)
    for text in ('', '[]', '{"method": 1}', '{"epochs": {"x": {"one": 1}}}'):
        (tmp_path / 'result.json').write_text(text)
        with pytest.raises(ValueError, match=r'result\.json is damaged, or no RunResult'):
            read_result(RunResult, tmp_path / 'result.json')


WRONG = dict(
    seed=[-1, 1.5, '0', None, True, 10**400],
    fold=[-1, 1.5],
    epoch=[-1, 'x', float('nan'), 2.0],
    steps=[-5, float('inf'), [10]],
    seconds=[-1, float('nan'), float('inf'), '1', None],
    value=['x', [1], True, 10**400],
    fingerprint=[0, None],
    method=[3, None],
    test=[[], {'frac/AUROC': 1.5}, {'frac/AUROC': -0.1}, {'frac/AUROC': 'x'}, {'frac/FROC': None}],
    validation=[None, {'frac/AUROC': float('inf')}, {'frac/AUROC': True}],
    epochs=[[], {'x': 3}, {'x': {'1': 'y'}}, {'x': {'one': 1}}],
    records=[[], 'x', None],
    versions=[{'torch': 2}, []],
)


@pytest.mark.parametrize(
    'name, value', [(name, one) for name, all_ in WRONG.items() for one in all_]
)
def test_fields_of_another_type_and_impossible_values(name, value, tmp_path):
    write_result(run('a', 0), tmp_path / 'result.json')
    content = json.loads((tmp_path / 'result.json').read_text())
    (tmp_path / 'result.json').write_text(json.dumps(content | {name: value}))
    with pytest.raises(ValueError, match=r'result\.json is damaged, or no RunResult'):
        read_result(RunResult, tmp_path / 'result.json')


def test_metrics_that_are_not_those_of_their_own_records(tmp_path):
    definitions = METRIC_DEFAULTS.as_dict(METRIC_OPTIONS)
    films = [
        dict(film=str(index), patient=str(index), label=index % 2, score=0.1 * index)
        | dict(lesion_scores=[0.1 * index] * (index % 2), thresholds=[], false_positives=[])
        for index in range(8)
    ]
    records = dict(format_version=1, max_fppi=None, definitions=definitions, films=films)
    right = {'frac/AUROC': 0.625, 'frac/FROC': 1.0, 'frac/Recall@0.1': 1.0}
    path = tmp_path / 'result.json'
    write_result(replace(run('a', 0), test=right, records=records), path)
    assert read_result(RunResult, path).test == right
    for name, value in (('AUROC', 0.5), ('AUROC', float('nan')), ('FROC', 0.9), ('Recall@0.1', 0)):
        test = right | {f'frac/{name}': value}
        write_result(replace(run('a', 0), test=test, records=records), path)
        with pytest.raises(ValueError, match=f'{name} is .*, and its own records give'):
            read_result(RunResult, path)


def test_runs_of_two_benchmarks_are_not_mixed(tmp_path):
    path = add_runs(tmp_path, [run('a', 0)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"xz: a-seed0 is .* 'toy', not of 'quarter'.* --results"):
        add_runs(tmp_path, [replace(run('b', 0), benchmark='quarter')])
    assert path.read_bytes() == before


def test_a_run_that_would_count_twice_is_an_error(tmp_path):
    path = add_runs(tmp_path, [run('a', 0), run('b', 0)])
    # two files of runs after each other are one of xz
    path.write_bytes(path.read_bytes() + lzma.compress(lzma.decompress(path.read_bytes())))
    with pytest.raises(ValueError, match=r'xz, line 3: a-seed0 stands on an earlier line, too'):
        read_runs(tmp_path)


def test_a_file_without_a_run_is_an_error(tmp_path):
    (tmp_path / 'runs.jsonl.xz').write_bytes(lzma.compress(b''))
    with pytest.raises(ValueError, match=r'runs\.jsonl\.xz holds no run: remove it'):
        read_runs(tmp_path)
    # as it says
    (tmp_path / 'runs.jsonl.xz').unlink()
    assert read_runs(add_runs(tmp_path, [run('a', 0)]).parent) == [run('a', 0)]


def test_a_damaged_file_is_named(tmp_path):
    path = add_runs(tmp_path, [run('a', 0), run('a', 1)])
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r'runs\.jsonl\.xz is damaged'):
        read_runs(tmp_path)
    path.write_bytes(lzma.compress(lzma.decompress(content) + b'{"method": 1}\n'))
    with pytest.raises(ValueError, match=r'runs\.jsonl\.xz, line 3 is damaged, or no RunResult'):
        read_runs(tmp_path)
