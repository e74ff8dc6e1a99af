# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Text of others (file names, cells of tables) where a terminal or a spreadsheet would obey it."""

import logging
import re
from typing import Any

# Control characters but tab and line feed, marks that turn the direction of writing, line separators of
# Unicode, and lone surrogates, which no UTF-8 stream takes.
_OBEYED = re.compile(
    '[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]'
)

_FORMULA = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')

_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)', re.ASCII)


def printable(text: Any) -> str:
    r"""Text that a terminal shows and does not obey; line feeds and tabs stay.

    Args:
        text (Any): Its ``str()`` may hold file names or cells of tables.

    Returns:
        str: Escapes, other control characters and lone surrogates are spelled out, as ``\x1b``.
    """
    return _OBEYED.sub(lambda found: found[0].encode('unicode_escape').decode(), str(text))


def printable_line(text: Any) -> str:
    r"""``printable`` text in one line: a line feed in a name would begin a line of its own.

    Args:
        text (Any): Its ``str()`` may hold file names or messages about them.

    Returns:
        str: Line feeds and tabs are spelled out, too, as ``\n`` and ``\t``.
    """
    return printable(text).replace('\n', r'\n').replace('\t', r'\t')


def is_told(count: int) -> bool:
    """Whether a warning is printed of one more of its kind: of the 1st, 10th, 100th ...

    Args:
        count (int): How many there are with it.
    """
    return count == 10 ** (len(str(count)) - 1)


class PrintableRecord(logging.LogRecord):
    """What a logger says, ``printable``: for ``logging.setLogRecordFactory``."""

    def getMessage(self) -> str:
        """The message with its arguments."""
        return printable(super().getMessage())


class PrintableFilter(logging.Filter):
    """Makes what a logger says ``printable``: paths of images stand in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        record.msg, record.args = printable(record.getMessage()), None
        return True


def table_cell(value: Any) -> Any:
    """A value for a CSV that a spreadsheet takes for text and not for a formula.

    Args:
        value (Any): Numbers, also as text, stay as they are.

    Returns:
        Any: Text without control characters; an apostrophe stands before what would be a formula.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_formula = text.lstrip(' ').startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
