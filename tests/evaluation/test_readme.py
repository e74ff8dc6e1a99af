# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The examples of the metric's README run, and what they assert holds."""

import re
from pathlib import Path

import pytest

import mmfrac.evaluation

README = Path(mmfrac.evaluation.__file__).with_name('README.md')
BLOCKS = re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)


@pytest.mark.parametrize('number', range(len(BLOCKS)))
def test_example(number):
    exec(compile(BLOCKS[number], f'{README.name}, example {number + 1}', 'exec'), {})


def test_every_claim_about_others_has_an_example():
    others = README.read_text().split('## How others differ')[1].split('\n## ')[0]
    claims = re.findall(r'^\*\*(.+?)\*\*', others, re.MULTILINE)
    assert len(claims) == others.count('```python') == 4
    assert all('assert ' in block for block in BLOCKS)
