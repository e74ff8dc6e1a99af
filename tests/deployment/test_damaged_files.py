# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a node does with damaged files; ``python -m tests.fuzz.node`` sends it a thousand."""

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
