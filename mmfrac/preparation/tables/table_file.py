# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A text table on disk: plain, gzipped or zipped, with its byte-order mark and delimiter."""

import csv
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TextIO, cast

DELIMITERS = (',', ';', '\t', '|')
# What a damaged file raises while it is read.
DAMAGE = (EOFError, OSError, zlib.error, zipfile.BadZipFile, UnicodeError)

_UTF16 = (b'\xff\xfe', b'\xfe\xff')
_HEAD = 4


@contextmanager
def open_table(path: str, encoding: str = 'utf-8') -> Iterator[tuple[TextIO, IO[bytes]]]:
    """Open a table, whatever it is packed in; the content decides, not the suffix.

    Bytes that are not in the encoding come out as lone surrogates, so that a row can be named that
    holds them.

    Args:
        path (str): CSV file, plain, gzipped or the only file of a zip archive.
        encoding (str): Its encoding; a byte-order mark overrules 'utf-8'. Default: 'utf-8'.

    Yields:
        tuple[TextIO, IO[bytes]]: The text, and the file on disk, whose position tells how much of
            it has been read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a workbook or an archive of several files.
    """
    if not os.path.isfile(path):
        what = 'it is a folder, name the table in it' if os.path.isdir(path) else 'no such file'
        raise FileNotFoundError(f"no table '{path}': {what}")
    with ExitStack() as stack:
        disk = stack.enter_context(open(path, 'rb'))
        magic = disk.read(_HEAD)
        disk.seek(0)
        data: IO[bytes] = disk
        if magic.startswith(b'\x1f\x8b'):
            data = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=disk)))
        elif magic.startswith(b'PK\x03\x04'):
            archive = stack.enter_context(zipfile.ZipFile(disk))
            data = stack.enter_context(archive.open(_only_table(path, archive)))
        buffered = io.BufferedReader(cast(io.RawIOBase, data))
        errors = 'surrogateescape'
        if encoding.lower().replace('-', '') == 'utf8':
            encoding = 'utf-8-sig'
            if buffered.peek(2)[:2] in _UTF16:
                encoding, errors = 'utf-16', 'strict'
        text = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline='')
        yield stack.enter_context(text), disk


def _only_table(path: str, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith('/')]
    names = [name for name in names if not name.startswith('__MACOSX')]
    if '[Content_Types].xml' in names:
        raise ValueError(f"'{path}' is a workbook: save the sheet as CSV (UTF-8) and name that")
    if len(names) != 1:
        raise ValueError(
            f"'{path}' holds {len(names)} files ({', '.join(names[:5])}): unpack it and name the table"
        )
    return names[0]


@dataclass(frozen=True)
class Header:
    """Header of a table.

    Attributes:
        names (tuple[str, ...]): Columns, without outer blanks and without empty ones at the end; none
            if the file is empty.
        delimiter (str): Stands between two fields.
        lines (int): Lines of the file up to the end of the header.
    """

    names: tuple[str, ...] = ()
    delimiter: str = ','
    lines: int = 0


def read_header(file: TextIO, wanted: Set[str]) -> Header:
    """Read a table up to the end of its header.

    Args:
        file (TextIO): At its start. Empty lines before the header and a spreadsheet's ``sep=;`` are
            skipped.
        wanted (Set[str]): Names, as :func:`column_key` gives them: that delimiter is taken with which
            most of them are found.

    Returns:
        Header: Columns and delimiter.
    """
    delimiters: tuple[str, ...] = DELIMITERS
    for lines, line in enumerate(iter(file.readline, ''), 1):
        separator = re.fullmatch(r'"?sep=(.)"?\s*', line)
        if separator:
            delimiters = (separator.group(1),)
        elif line.strip():
            split = {one: next(csv.reader([line], delimiter=one)) for one in delimiters}
            best = max(
                delimiters,
                key=lambda one: (len(wanted & set(map(column_key, split[one]))), len(split[one])),
            )
            names = [name.strip() for name in split[best]]
            while names and not names[-1]:
                names.pop()
            return Header(tuple(names), best, lines)
    return Header()


def column_key(name: str) -> str:
    """A column's name without case, and without blanks at its ends."""
    return name.strip().lower()
