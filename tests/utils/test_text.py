# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import subprocess
import sys

import pytest

from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import is_told, printable, printable_line, table_cell


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('a\x1b[31mred\x1b[0m.png', r'a\x1b[31mred\x1b[0m.png'),
        ('title\x1b]0;owned\x07', r'title\x1b]0;owned\x07'),
        ('back\b\b\bover', r'back\x08\x08\x08over'),
        ('new\rline', r'new\rline'),
        ('c1 \x9b31m', r'c1 \x9b31m'),
        ('gnp.\u202egpj', r'gnp.\u202egpj'),
        ('odd \udcff byte', r'odd \udcff byte'),
        ('two\nlines\tand a tab', 'two\nlines\tand a tab'),
        ('Müller 王 é', 'Müller 王 é'),
        (7, '7'),
    ],
)
def test_terminals_are_not_commanded(text, shown):
    assert printable(text) == shown
    printable(text).encode()


@pytest.mark.parametrize(
    ('value', 'cell'),
    [
        ('=cmd|/C calc!A0', "'=cmd|/C calc!A0"),
        ('+1+cmd', "'+1+cmd"),
        ('-2+3', "'-2+3"),
        ('@SUM(A1)', "'@SUM(A1)"),
        ('\t=1', "'\t=1"),
        (' =1', "' =1"),
        ('＝1', "'＝1"),
        ('-0.5', '-0.5'),
        ('+1e-3', '+1e-3'),
        ('-inf', '-inf'),
        (-0.5, -0.5),
        (None, None),
        ('a=b', 'a=b'),
        ('a\x1b[2J', r'a\x1b[2J'),
    ],
)
def test_spreadsheets_are_not_commanded(value, cell):
    assert table_cell(value) == cell


def test_errors_are_printed_so(capsys):
    with pytest.raises(SystemExit), plain_errors():
        raise ValueError('no film a\x1b[2J.png\nsecond line')
    assert r'no film a\x1b[2J.png' in capsys.readouterr().err


def test_a_line_feed_in_a_name_begins_no_line():
    assert printable_line('a\n0.99  1  b\t\x1b[2J') == r'a\n0.99  1  b\t\x1b[2J'


SAID = """
import logging, sys, warnings
from mmengine.logging import MMLogger, print_log
from mmfrac.utils.errors import plain_errors
name = 'a' + chr(27) + '[2J' + chr(0xdcff) + '.png'
with plain_errors():
    print_log(f'{name} is logged', logger='current', level=logging.WARNING)
    MMLogger.get_instance('other').warning('%s is logged by another', name)
    warnings.warn(f'{name} is warned of')
    print(f'{name} is printed')
    print('and what comes after it')
"""


@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_whatever_a_tool_says_ends_it_or_commands_the_terminal(encoding):
    told = subprocess.run(
        [sys.executable, '-c', SAID],
        capture_output=True,
        env=os.environ | dict(PYTHONIOENCODING=encoding),
    )
    assert told.returncode == 0, told.stderr
    assert b'\\udcff.png is printed' in told.stdout and b'and what comes after it' in told.stdout
    every = (told.stdout + told.stderr).replace(b'\x1b[2J\\udcff.png is printed', b'')
    for words in (b'is logged', b'is logged by another', b'is warned of'):
        assert b'a\\x1b[2J\\udcff.png ' + words in every
    assert b'\x1b[2J' not in every


def test_of_many_warnings_the_first_and_the_powers_of_ten_are_told():
    assert [count for count in range(1, 1200) if is_told(count)] == [1, 10, 100, 1000]
