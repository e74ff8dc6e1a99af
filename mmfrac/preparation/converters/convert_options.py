# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What every converter can be told."""

import codecs
import os
import re
from dataclasses import dataclass

from mmfrac.preparation.tables.values import Size

UNCERTAIN = ('unknown', 'negative', 'positive', 'drop')
BLANK = ('unknown', 'negative', 'drop')
MISSING = ('error', 'drop')


@dataclass(frozen=True)
class ConvertOptions:
    """Choices that all converters share.

    Attributes:
        uncertain (str): What becomes of uncertain labels (-1): 'unknown' (label -1), 'negative',
            'positive' or 'drop'. Defaults to 'unknown'.
        blank (str): What becomes of films about whose fractures the set says nothing: 'unknown' (label
            -1), 'negative' or 'drop'. Defaults to 'unknown'.
        views (str or tuple[str, ...]): 'frontal', 'all', or the views to keep, in the words of the set.
            Defaults to 'frontal'.
        size (str or tuple[int, int]): Where the films' sizes come from: 'files', from their headers;
            'table', from the label table or the release, files untouched; (width, height) in px of all
            films, files untouched. Defaults to 'files'.
        missing (str): What becomes of films that are not in the folder: 'error' or 'drop'. Defaults to
            'error'.
        verify (bool): Decode every film. Defaults to False.
        workers (int): Processes that decode. Defaults to the cores, at most 8.
        suffix (str, optional): Suffix of the films, e.g. '.png', for sets that name films without.
            Defaults to None, that of the release.
        source (str, optional): ``source`` of the films. Defaults to None, the name of the set.
        encoding (str): Encoding of the tables. Defaults to 'utf-8'.
        progress (bool): Show bars. Defaults to False.
        allow_outside (bool): Take images outside of the image folder, by names that are absolute or lead
            out of it. Defaults to False, an error.
        allow_stretched (bool): Scale boxes to an image whose sides are not those of the table in one
            proportion. Defaults to False, an error unless the image is a square.

    Raises:
        ValueError: If a choice is none of these.
    """

    uncertain: str = 'unknown'
    blank: str = 'unknown'
    views: str | tuple[str, ...] = 'frontal'
    size: str | Size = 'files'
    missing: str = 'error'
    verify: bool = False
    workers: int = min(os.cpu_count() or 1, 8)
    suffix: str | None = None
    source: str | None = None
    encoding: str = 'utf-8'
    progress: bool = False
    allow_outside: bool = False
    allow_stretched: bool = False

    def __post_init__(self) -> None:
        for name, valid in (('uncertain', UNCERTAIN), ('blank', BLANK), ('missing', MISSING)):
            if getattr(self, name) not in valid:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {list(valid)}')
        if isinstance(self.size, str) and self.size not in ('files', 'table'):
            raise ValueError(f"size {self.size!r} is none of 'files', 'table', WIDTHxHEIGHT (px)")
        if not isinstance(self.size, str) and (len(self.size) != 2 or min(self.size) <= 0):
            raise ValueError(f'size {self.size} must be a positive width and height (px)')
        if self.workers < 1:
            raise ValueError(f'workers {self.workers} must be 1 or more')
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ValueError(f'unknown encoding {self.encoding!r}, e.g. utf-8, cp1252') from error

    @property
    def looks_at_files(self) -> bool:
        """Whether the films are looked for on disk."""
        return self.size == 'files' or self.verify or self.missing == 'drop'


def parse_size(text: str) -> str | Size:
    """'files', 'table' or '2500x2048' as :class:`ConvertOptions` takes it.

    Args:
        text (str): From the command line.

    Raises:
        ValueError: If it is none of these.
    """
    numbers = re.fullmatch(r'(\d+)\s*[xX]\s*(\d+)', text.strip())
    return (int(numbers[1]), int(numbers[2])) if numbers else text.strip()


def parse_views(text: str) -> str | tuple[str, ...]:
    """'frontal', 'all' or 'PA,AP' as :class:`ConvertOptions` takes it.

    Args:
        text (str): From the command line.
    """
    names = tuple(name.strip() for name in text.split(',') if name.strip())
    return names[0] if len(names) == 1 and names[0] in ('frontal', 'all') else names
