# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a node and a page do with damaged files; ``python -m tests.fuzz.node`` sends a thousand."""

import os

import pytest

from tests.fuzz.node import run_node

COUNT = int(os.environ.get('MMFRAC_NODE_FILES', '40'))


@pytest.mark.slow
def test_damaged_files_are_refused_or_scored_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'run').mkdir()
    found = run_node(COUNT, 0, tmp_path / 'run')
    taken = sum(found.images.values()) - 1
    assert sum(found.answers.values()) == COUNT and taken <= found.answers['0x0000']
    # some of each; none where the data ends before it begins
    assert found.answers['0x0000'] and found.images.keys() >= {'scored', 'left out'}
    assert set(found.answers) <= {'0x0000', '0xC000', '0xA900', 'none'}
    # refused by the node itself, never by an error of its own
    assert 'failed' not in found.images
    assert found.strays == [] and found.answers_still
    assert os.listdir(tmp_path) == ['run']
    assert found.threads[1] <= found.threads[0] + 4 and found.files[1] <= found.files[0] + 8


@pytest.mark.slow
def test_the_page_refuses_or_scores_damaged_files_and_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip('fastapi', reason='pip install mmfrac[deploy]')
    from tests.fuzz.page import run_page

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'run').mkdir()
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'run'))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'run'))
    found = run_page(COUNT, 0, tmp_path / 'run')
    assert sum(found.answers.values()) == COUNT and set(found.answers) <= {200, 400, 413}
    assert found.images['scored'] and found.images['error'] and found.told == []
    assert found.strays == [] and found.answers_still
    assert os.listdir(tmp_path) == ['run']
    assert found.threads[1] <= found.threads[0] + 4 and found.files[1] <= found.files[0] + 8
