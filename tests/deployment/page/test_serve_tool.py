# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import sys
from pathlib import Path

import pytest

from tests.deployment.page.test_app import png, send

uvicorn = pytest.importorskip('uvicorn', reason='pip install mmfrac[deploy]')
TOOL = Path(__file__).parents[3] / 'tools/deployment/serve.py'


def test_the_command(package, serve, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(uvicorn, 'run', lambda app, **options: runs.append((app, options)))
    arguments = [package.path, '--max-upload', '1', '--operating-point', 'high', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', ['serve', *arguments])
    runpy.run_path(str(TOOL), run_name='__main__')
    ((app, options),) = runs
    # this machine alone, and no names of files in a log
    assert options['host'] == '127.0.0.1' and options['access_log'] is False
    said = capsys.readouterr().out
    assert 'For tests only' in said and 'http://127.0.0.1:8000' in said
    url = serve(app)
    assert send(url, ('a.png', png())).status_code == 200
    assert send(url, ('a.png', bytes(2**20))).status_code == 413


def test_what_is_no_package_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['serve', str(tmp_path / 'none.mmfrac')])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'no package' in capsys.readouterr().err


def test_a_missing_fastapi_is_one_sentence(package, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split('.')[0] == 'fastapi']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    monkeypatch.delitem(sys.modules, 'mmfrac.deployment.page.app')
    monkeypatch.setattr(sys, 'argv', ['serve', str(package.path)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    said = capsys.readouterr().err
    assert said.startswith('ImportError: the page needs FastAPI') and 'Traceback' not in said
