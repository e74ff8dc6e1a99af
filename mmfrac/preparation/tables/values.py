# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Values of label tables: labels, numbers, patients, views; and the row of a film."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmfrac.datasets.labels import NO_VALUE, names_nobody

BLANKS = NO_VALUE

Size = tuple[int, int]  # (width, height) px

_WORDS = {
    1: ('yes', 'y', 'true', 'positive', 'present', 'fracture'),
    0: ('no', 'n', 'false', 'negative', 'absent', 'normal', 'no fracture'),
    -1: ('unknown', 'uncertain', 'hedge'),
}

_LABELS = {word: label for label, words in _WORDS.items() for word in words}

# what `read_label` takes, for messages
LABEL_WORDS = (
    ', '.join(f'{label} ({", ".join(words)})' for label, words in _WORDS.items()) + ' or blank'
)

_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', re.ASCII)

_NUMBER_ID = re.compile(r'(\d+)(\.0*)?', re.ASCII)

_ROUNDED_ID = re.compile(r'\d([.,]\d+)?[eE]\+\d+')


def read_label(text: str) -> int | None:
    """A label as tables write it.

    Args:
        text (str): 1, 0, -1 (also 1.0), a word of ``LABEL_WORDS`` in any case, or blank.

    Returns:
        int or None: 1, 0, -1 for uncertain; None for blank.

    Raises:
        ValueError: If it is none of these.
    """
    key = text.lower()
    if key in BLANKS:
        return None
    if key in _LABELS:
        return _LABELS[key]
    if _NUMBER.fullmatch(text) and float(text) in (-1, 0, 1):
        return int(float(text))
    raise ValueError(f'label {text!r} is none of {LABEL_WORDS}')


def read_number(text: str, decimal_comma: bool = False) -> float:
    """A finite number; whole ones come out as int.

    Args:
        text (str): Digits with a decimal point.
        decimal_comma (bool): Take a decimal comma, too. Defaults to False.

    Raises:
        ValueError: If it is no finite number.
    """
    plain = text.replace(',', '.') if decimal_comma else text
    if not _NUMBER.fullmatch(plain) or not math.isfinite(float(plain)):
        raise ValueError(f'{text!r} is not a number')
    value = float(plain)
    return int(value) if value.is_integer() else value


def read_length(text: str) -> int:
    """A width or height in px, as 2048 or 2048.0.

    Raises:
        ValueError: If it is no positive whole number.
    """
    value = read_number(text)
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f'{text!r} is not a width or height (px)')
    return value


def read_number_id(text: str) -> str:
    """An id that is a whole number, however a table writes it: 50414267, 50414267.0, 0050414267.

    Raises:
        ValueError: If it is no whole number, or was rounded by a spreadsheet.
    """
    found = _NUMBER_ID.fullmatch(text.strip())
    if found:
        return found[1].lstrip('0') or '0'
    if _ROUNDED_ID.fullmatch(text):
        raise ValueError(
            f'id {text!r} was rounded by a spreadsheet, use the table as it was published'
        )
    raise ValueError(f'id {text[:40]!r} is no whole number' if text else 'no id')


def read_patient(text: str) -> str:
    """A patient id.

    Raises:
        ValueError: If it names nobody, or was rounded by a spreadsheet, which makes one patient of many.
    """
    if names_nobody(text):
        raise ValueError('no patient id; films of one patient could come into two splits')
    if _ROUNDED_ID.fullmatch(text):
        raise ValueError(
            f'patient id {text!r} was rounded by a spreadsheet, use the table as it was published'
        )
    return text


@dataclass(slots=True)
class RawBox:
    """A box that has not been checked.

    Attributes:
        box (Any): Should be [x1, y1, x2, y2], px.
        location (int or str): Line of its table, or its name in the film's record.
        site (str, optional): 'rib', 'clavicle', ...
        polygon (Any): Should be [x1, y1, x2, y2, ...], px. Defaults to None.
        is_fracture (bool): False: it is checked, too, but not written. Defaults to True.
        is_ignored (bool): It is written as one that is no lesion (``iscrowd``). Defaults to False.
    """

    box: Any
    location: int | str
    site: str | None = None
    polygon: Any = None
    is_fracture: bool = True
    is_ignored: bool = False


@dataclass(slots=True)
class ImageRow:
    """A film of a label table.

    Attributes:
        table (str): Name of the table, for messages.
        location (int or str): Its line, or its name, for messages.
        names (tuple[str, ...]): Paths under which its file may be found, the release's first.
        label (int): 1 fracture, 0 none, -1 unknown.
        patient_id (str, optional): Patient; None where the set names none.
        regions (bool): Whether ``boxes`` is complete; label 0 needs no boxes. Defaults to False.
        boxes (Sequence[RawBox]): Defaults to none.
        size (tuple[int, int], optional): Width and height (px) that the table gives, in which the
            boxes are drawn. Defaults to None, that of the file.
        source (str, optional): Defaults to None, that of the conversion.
        extra (dict[str, str]): More fields of its image. Defaults to none.
        drawn_on (tuple[int, int], optional): Width and height (px) of the copy on which the boxes were
            drawn, where ``size`` is that of the film itself. Defaults to None, ``size``.
    """

    table: str
    location: int | str
    names: tuple[str, ...]
    label: int
    patient_id: str | None
    regions: bool = False
    boxes: Sequence[RawBox] = ()
    size: Size | None = None
    source: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    drawn_on: Size | None = None
