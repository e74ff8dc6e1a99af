# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import lzma

import pytest

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


def test_a_damaged_file_is_named(tmp_path):
    path = add_runs(tmp_path, [run('a', 0), run('a', 1)])
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r'runs\.jsonl\.xz is damaged'):
        read_runs(tmp_path)
    path.write_bytes(lzma.compress(lzma.decompress(content) + b'{"method": 1}\n'))
    with pytest.raises(ValueError, match=r'runs\.jsonl\.xz, line 3 is damaged, or no RunResult'):
        read_runs(tmp_path)
