# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import runpy
import sys

import pytest

from tests.preparation.checks.broken_set import broken_set, sound_set


@pytest.fixture
def run(repository, monkeypatch, capsys):
    tool = repository / 'tools' / 'check_data.py'

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(tool), run_name='__main__')
        return left.value.code, capsys.readouterr()

    return run


def test_exit_codes_and_files(run, tmp_path):
    root = sound_set(tmp_path / 'sound').write()
    code, said = run(root, '--workers', 0)
    assert code == 0 and '0 errors, 0 warnings' in said.out
    root, expected = broken_set(tmp_path / 'broken')
    page, report = tmp_path / 'out' / 'a.html', tmp_path / 'out' / 'a.json'
    code, said = run(root, '--workers', 0, '--html', page, '--json', report)
    assert code == 1 and 'unreadable_film' in said.out and f'wrote {page}' in said.out
    found = json.loads(report.read_text())['checks']
    assert {name: item['found'] for name, item in found.items() if item['found']} == expected
    assert page.read_text().count('<section') == len(expected)


def test_options(run, tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('train', 'thin.png', 1, [[30, 40, 1, 9]])
    root = data.write()
    assert run(root, '--workers', 0)[0] == 0
    assert run(root, '--workers', 0, '--strict')[0] == 1
    assert run(root, '--workers', 0, '--errors', 'odd_box')[0] == 1
    assert run(root, '--workers', 0, '--strict', '--off', 'odd_box')[0] == 0
    assert run(root, '--ann-files', 'annotations/val.json', '--strict', '--no-decode')[0] == 0
    code, said = run(root, '--errors', 'nothing')
    assert code == 1 and 'unknown check' in said.err and 'Traceback' not in said.err
    code, said = run(tmp_path / 'nowhere')
    assert code == 1 and 'no data root' in said.out
