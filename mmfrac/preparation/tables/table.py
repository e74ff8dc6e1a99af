# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""CSV tables of label sets: their columns, their rows, and everything that is wrong with them."""

import csv
import gzip
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, TextIO, cast

from tqdm import tqdm

from mmfrac.preparation.tables.values import read_number
from mmfrac.utils.errors import MAX_LINES, AnnotationError


class Problems:
    """Collects what is wrong, with table and line, until it is all raised at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, int | str, str]] = []
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def name_of(self, path: str) -> str:
        """Name of a table that is read: its file name, or its path beside another of that file name.

        Args:
            path (str): The table. Any other name is given as it is.
        """
        return self._names.get(path, path)

    def reads(self, path: str) -> None:
        """Note that a table is read.

        Args:
            path (str): The table.
        """
        name = os.path.basename(path)
        same = [one for one in self._names if os.path.basename(one) == name and one != path]
        for one in (path, *same):
            self._names[one] = one if same else name

    def add(self, table: str, location: int | str, text: str) -> None:
        """Note a problem.

        Args:
            table (str): Name of the file, or the path of one of ``reads``.
            location (int or str): Line of the file, counted from 1, or another name of the record.
            text (str): What is wrong, and how to mend it.
        """
        self._found.append((table, location, text))

    @property
    def lines(self) -> list[str]:
        """A line for each, in the order of the tables; what concerns a whole file stands first."""
        return [
            f'{table}: {location_name(location)}: {text}'
            for table, location, text in self._ordered()
        ]

    def _ordered(self) -> list[tuple[str, int | str, str]]:
        found = [(self.name_of(table), location, text) for table, location, text in self._found]
        return sorted(found, key=_place)

    def _grouped(self) -> list[tuple[str, list[int | str], str]]:
        """Table, lines and text, once for all lines of a table that have one text; in order."""
        groups: dict[tuple, list[int | str]] = {}
        for at, (table, location, text) in enumerate(self._ordered()):
            # a name of a record stands for itself
            some = groups.setdefault((table, text, -1 if isinstance(location, int) else at), [])
            if location not in some[-1:]:
                some.append(location)
        return [(table, locations, text) for (table, text, _), locations in groups.items()]

    def raise_any(self, files: Sequence[str]) -> None:
        """Raise one error for all of them; nothing if there are none.

        Args:
            files (Sequence[str]): What was read, for the message.

        Raises:
            AnnotationError: If there is a problem; a line for each of the first, one for all lines
                of a table that are wrong in the same way (the first runs of them, and the number of
                rows), and the places of the others.
        """
        if not self._found:
            return
        groups, number = self._grouped(), len(self._found)
        message = [f'{number} problem{"s" if number > 1 else ""} in {", ".join(files)}:']
        for table, locations, text in groups[:MAX_LINES]:
            message.append(f'  {table}: {_lines_name(locations)}: {text}')
        more = [(table, one, '') for table, some, _ in groups[MAX_LINES:] for one in some]
        if more:
            more.sort(key=_place)
            message.append(f'  ... and {len(more)} more: {_locations(more)}')
        raise AnnotationError('\n'.join(message), self.lines)


def _place(found: tuple[str, int | str, str]) -> tuple[str, int]:
    """Order of what was found: what concerns a whole file stands first."""
    return found[0], found[1] if isinstance(found[1], int) else -1


def location_name(location: int | str) -> str:
    """'line 12' for a line, other names as they are."""
    return f'line {location}' if isinstance(location, int) else location


def _lines_name(locations: Sequence[int | str]) -> str:
    """'line 12', or 'lines 2-4, 6, ... (41 rows)': of many runs of lines the first."""
    if len(locations) == 1:
        return location_name(locations[0])
    runs = _runs(locations).split(', ')
    shown = ', '.join(runs[:_SHOWN_RUNS] + (['...'] if len(runs) > _SHOWN_RUNS else []))
    return f'lines {shown} ({len(locations)} rows)'


def _locations(found: Sequence[tuple[str, int | str, str]]) -> str:
    """``a.csv lines 3, 7-12; b.csv lines 2``: runs of lines in short."""
    tables: dict[str, list[int | str]] = {}
    for table, location, _ in found:
        locations = tables.setdefault(table, [])
        if not locations or locations[-1] != location:
            locations.append(location)
    return '; '.join(f'{table} lines {_runs(locations)}' for table, locations in tables.items())


def _runs(locations: Sequence[int | str]) -> str:
    runs: list[list[int | str]] = []
    for location in locations:
        last = runs[-1][-1] if runs else None
        if isinstance(location, int) and isinstance(last, int) and location == last + 1:
            runs[-1][1:] = [location]
        else:
            runs.append([location])
    return ', '.join('-'.join(map(str, run)) for run in runs)


_SHOWN_RUNS = 50

_DELIMITERS = (',', ';', '\t', '|')

# What a damaged file raises while it is read; a locked or unknown archive raises the last two.
_DAMAGE = (
    *(EOFError, OSError, zlib.error, zipfile.BadZipFile, UnicodeError),
    *(RuntimeError, NotImplementedError, lzma.LZMAError, struct.error),
)

# A packed table may inflate to so many bytes, and beyond the first of them to so many times its size:
# real tables pack 5 to 30 times, a bomb 1000 times.
MOST_INFLATED = 8 * 2**30

_FREE_INFLATED = 8 * 2**20

_MOST_TIMES = 100

# No packing of bytes does more.
_LARGEST_TIMES = 1100

# Characters of a line, and of the lines of a record.
_LONGEST_LINE = 2**20

_LONGEST_RECORD = 2**22

# Blank lines one after the other, and rows that are at fault.
_MOST_BLANK = 1000

_MOST_FAULTS = 10_000


class _Inflated(io.RawIOBase):
    """The bytes of a packed table, of which no more are made than ``limit``.

    Args:
        data (IO[bytes]): Inflates as it is read.
        disk (IO[bytes]): The file that it reads.
        declared (int): Bytes that the file says it inflates to.
        limit (int): Most bytes.

    Raises:
        OSError: If it says that there are more than is allowed.
    """

    def __init__(self, data: IO[bytes], disk: IO[bytes], declared: int, limit: int) -> None:
        self._data, self._disk = data, disk
        self._limit, self._inflated = limit, 0
        packed = os.fstat(disk.fileno()).st_size
        # of a file that is cut the number is any, and mostly one that cannot be
        if self._most(packed) < declared <= packed * _LARGEST_TIMES:
            raise OSError(
                f'its {packed} bytes are to inflate to more than {self._most(packed)}: its end is '
                'missing, or it is no table; copy it anew, or unpack it if you trust it'
            )

    def _most(self, packed: int) -> int:
        return min(self._limit, max(_FREE_INFLATED, packed * _MOST_TIMES))

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes into ``buffer``.

        Raises:
            OSError: If there are more than is allowed.
        """
        content = self._data.read(len(buffer))
        self._inflated += len(content)
        # not of the whole file: of that a bomb would have to be inflated for long
        packed = self._disk.tell()
        if self._inflated > self._most(packed):
            raise OSError(
                f'its first {packed} bytes inflate to more than {self._most(packed)}, which those of '
                'no table do: unpack it if you trust it'
            )
        buffer[: len(content)] = content
        return len(content)


class _Lines:
    """Lines of a table, none longer than a table has.

    Args:
        file (TextIO): The table.

    Attributes:
        taken (int): Characters since a reader set it to 0.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.taken += len(line)
        if len(line) == _LONGEST_LINE or self.taken > _LONGEST_RECORD:
            raise OSError(
                f'a line of more than {_LONGEST_LINE} characters, or a row of more than '
                f'{_LONGEST_RECORD}; a quote may be missing'
            )
        return line


_UTF16 = (b'\xff\xfe', b'\xfe\xff')

_HEAD = 4


@contextmanager
def open_table(path: str, encoding: str = 'utf-8') -> Iterator[tuple[TextIO, IO[bytes]]]:
    """Open a table, whatever it is packed in; the content decides, not the suffix.

    Bytes that are not in the encoding come out as lone surrogates, so that a row can be named that
    holds them.

    Args:
        path (str): CSV file, plain, gzipped or the only file of a zip archive.
        encoding (str): Its encoding; a byte-order mark overrules 'utf-8'. Defaults to 'utf-8'.

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
        data: IO[bytes] | _Inflated = disk
        if magic.startswith(b'\x1f\x8b'):
            packed = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=disk)))
            data = _Inflated(packed, disk, _declared_by_gzip(disk), MOST_INFLATED)
        elif magic.startswith(b'PK\x03\x04'):
            archive = stack.enter_context(zipfile.ZipFile(disk))
            name = _only_table(path, archive)
            packed = stack.enter_context(archive.open(name))
            declared = archive.getinfo(name).file_size
            data = _Inflated(packed, disk, declared, MOST_INFLATED)
        buffered = io.BufferedReader(cast(io.RawIOBase, data))
        errors = 'surrogateescape'
        if encoding.lower().replace('-', '') == 'utf8':
            encoding = 'utf-8-sig'
            if buffered.peek(2)[:2] in _UTF16:
                encoding, errors = 'utf-16', 'strict'
        text = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline='')
        yield stack.enter_context(text), disk


def _declared_by_gzip(disk: IO[bytes]) -> int:
    """Bytes that the last part of a gzip file says it inflates to, modulo 2**32."""
    disk.seek(-min(4, disk.seek(0, os.SEEK_END)), os.SEEK_END)
    declared = int.from_bytes(disk.read(4), 'little')
    disk.seek(0)
    return declared


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


def _read_columns(file: TextIO, wanted: Set[str]) -> Header:
    """Read a table up to the end of its header.

    Args:
        file (TextIO): At its start. Empty lines before the header and a spreadsheet's ``sep=;`` are
            skipped.
        wanted (Set[str]): Names, as :func:`_column_key` gives them: that delimiter is taken with which
            most of them are found.

    Returns:
        Header: Columns and delimiter.
    """
    delimiters: tuple[str, ...] = _DELIMITERS
    for lines, line in enumerate(_Lines(file), 1):
        if lines > _MOST_BLANK:
            break
        separator = re.fullmatch(r'"?sep=(.)"?\s*', line)
        if separator:
            delimiters = (separator.group(1),)
        elif line.strip():
            split = {one: next(csv.reader([line], delimiter=one)) for one in delimiters}
            best = max(
                delimiters,
                key=lambda one: (len(wanted & set(map(_column_key, split[one]))), len(split[one])),
            )
            names = [name.strip() for name in split[best]]
            while names and not names[-1]:
                names.pop()
            return Header(tuple(names), best, lines)
    return Header()


def _column_key(name: str) -> str:
    """A column's name without case, and without blanks at its ends."""
    return name.strip().lower()


# Rows between two updates of the progress bar.
_STRIDE = 500

# A header that is named in a message is cut to so many columns and characters.
_SHOWN = 40

# Three digits behind the mark, and before it no more than a film has thousands of px.
_MAYBE_THOUSANDS = re.compile(r'[+-]?[1-9]\d?[.,]\d{3}', re.ASCII)

# Bytes that the encoding does not have, line breaks, and NUL: none of them is part of a value.
_UNUSABLE = re.compile('[\udc80-\udcff\n\r\0]')

Columns = Mapping[str, Sequence[str]]


class Table:
    """A label table: its columns by name, its rows one at a time.

    UTF-8 with or without byte-order mark or UTF-16, any line ends, comma, semicolon, tab or bar
    between fields, plain, gzipped or zipped. Columns are found in any order, without regard to case.
    What is wrong is added to ``problems``.

    Args:
        path (str or os.PathLike): The table.
        wanted (Columns): Names under which each column may be found, by its key; all are needed.
        problems (Problems): Takes what is wrong.
        optional (Columns, optional): The same, of columns that may be absent. Defaults to none.
        encoding (str): Encoding of the file. Defaults to 'utf-8'.
        progress (bool): Show a bar while rows are read. Defaults to False.
        private (bool): Keep what the table holds out of the messages. Defaults to False.
        renamable (bool): The message about a missing column names ``--column``. Defaults to False.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it is a workbook, or an archive of several files.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        wanted: Columns,
        problems: Problems,
        optional: Columns | None = None,
        encoding: str = 'utf-8',
        progress: bool = False,
        private: bool = False,
        renamable: bool = False,
    ) -> None:
        self._private = private
        self._renamable = renamable
        self.path = os.fspath(path)
        self.encoding = encoding
        self._problems = problems
        problems.reads(self.path)
        self._progress = progress
        self._columns = {**wanted, **(optional or {})}
        self._column_of: dict[str, int] = {}
        names = {_column_key(name) for names in self._columns.values() for name in names}
        self._names = frozenset(names)
        # mark of the first number that has one, and that number
        self._decimal: tuple[str, str] | None = None
        # whether a number shows that its mark is that of decimals
        self._has_decimals = False
        self._header = Header()
        self._read_header(wanted)

    @property
    def name(self) -> str:
        """What it is called in messages, see ``Problems.name_of``."""
        return self._problems.name_of(self.path)

    def has(self, key: str) -> bool:
        """Whether there is the optional column ``key``."""
        return key in self._column_of

    @property
    def unread(self) -> tuple[str, ...]:
        """Columns of the table that nobody reads."""
        read = set(self._column_of.values())
        return tuple(name for at, name in enumerate(self._header.names) if name and at not in read)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the wanted and optional columns, in the order of the fields of a row."""
        return tuple(self._columns)

    def number(self, text: str) -> float:
        """A number of a field, with a decimal point, or a decimal comma where a comma parts no fields.

        A table has one of them: beside ``0,9``, ``1.050`` may be meant as more than a thousand.

        Args:
            text (str): The field.

        Returns:
            float: The number; int where it is whole.

        Raises:
            ValueError: If it is no finite number, or one with the other decimal mark than before.
        """
        value = read_number(text, decimal_comma=self._header.delimiter != ',')
        mark = next((mark for mark in '.,' if mark in text), None)
        if mark is not None:
            self._decimal = self._decimal or (mark, text)
            if mark != self._decimal[0]:
                raise ValueError(
                    f'{text!r} beside {self._decimal[1]!r}: one of the two marks parts thousands; '
                    'write numbers without it'
                )
        if not _MAYBE_THOUSANDS.fullmatch(text):
            # where thousands are parted, no number without the mark has four digits
            self._has_decimals = self._has_decimals or mark is not None or abs(value) >= 1000
        return value

    def check_numbers(self) -> None:
        """Note a problem if the mark in all numbers that :meth:`number` has read may part thousands."""
        if self._decimal is not None and not self._has_decimals:
            told = '' if self._private else f', as {self._decimal[1]!r}'
            text = (
                f'the mark in its numbers may part thousands: each has three digits behind it{told}; '
                'write thousands without a mark, or decimals with another number of digits'
            )
            self._problems.add(self.path, 'all lines', text)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Sound rows, in the order of the file.

        Yields:
            tuple[int, list[str]]: Line on which the row begins, counted from 1, and the fields of
                the wanted and optional columns in their order, without outer blanks; '' for a column
                that is absent.
        """
        if not self._header.names:
            return
        # One field more than the header has stands for the columns that are absent.
        columns = [self._column_of.get(key, len(self._header.names)) for key in self._columns]
        bar = tqdm(
            total=os.path.getsize(self.path),
            desc=self.name,
            unit='B',
            unit_scale=True,
            disable=not self._progress,
        )
        count = 0
        with bar, open_table(self.path, self.encoding) as (file, disk):
            for count, (line, row) in enumerate(self._records(file), 1):
                if count % _STRIDE == 0:
                    bar.update(disk.tell() - bar.n)
                fault = self._length_fault(row)
                if not fault:
                    row.append('')
                    fields = [row[column].strip() for column in columns]
                    fault = self._field_fault(fields)
                if fault:
                    self._problems.add(self.path, line, fault)
                else:
                    yield line, fields
            bar.update(bar.total - bar.n)
        if not count:
            self._problems.add(self.path, 'header', 'the table has no row below its header')

    def _read_header(self, wanted: Columns) -> None:
        try:
            with open_table(self.path, self.encoding) as (file, _):
                header = _read_columns(file, self._names)
        except FileNotFoundError:
            raise
        except (csv.Error, LookupError, *_DAMAGE) as error:
            self._problems.add(self.path, 'header', f'the file cannot be read ({error})')
            return
        if not header.names:
            self._problems.add(self.path, 'header', 'the table is empty')
            return
        found = [_column_key(name) for name in header.names]
        faults = []
        for key, names in self._columns.items():
            present = [name for name in map(_column_key, names) if name in found]
            if present and found.count(present[0]) > 1:
                faults.append(f'column {present[0]!r} is there twice')
            elif present:
                self._column_of[key] = found.index(present[0])
        absent = [key for key in wanted if key not in self._column_of]
        if absent and not faults:
            columns = self._shown(header.names)
            missing, every = (
                ', '.join(' or '.join(map(repr, wanted[key])) for key in keys)
                for keys in (absent, wanted)
            )
            hints = '' if self._column_of else '; is the first line a header?'
            if self._renamable:
                hints += f'; a column of another name: --column {absent[0]}=OTHER'
            faults.append(f'no column {missing}; wanted: {every}; found: {columns}{hints}')
        for fault in faults:
            self._problems.add(self.path, 'header', fault)
        if not faults:
            self._header = header

    def _shown(self, names: Sequence[str]) -> str:
        """Columns of a header for a message: of a private table, which may have none, the known ones."""
        if not self._private:
            return ', '.join(repr(name[:_SHOWN]) for name in names[:_SHOWN])
        known = [repr(name) for name in names if _column_key(name) in self._names]
        others = len(names) - len(known)
        return ', '.join([*known, f'{others} others, which are not shown'] if others else known)

    def _records(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Records that are not blank, with the line on which each begins."""
        above = _read_columns(file, self._names).lines
        lines = _Lines(file)
        blank = faults = 0
        # strict: a quote out of place is an error, not a field that swallows the rows after it
        reader = csv.reader(lines, delimiter=self._header.delimiter, strict=True)
        while True:
            lines.taken = 0
            line = above + reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._problems.add(self.path, line, f'not a row of a table: {error}')
                faults += 1
                if faults < _MOST_FAULTS:
                    continue
                self._problems.add(self.path, line, 'too many faults: not read from here on')
                return
            except _DAMAGE as error:
                self._problems.add(self.path, line, f'the file is damaged from here on ({error})')
                return
            blank = 0 if row else blank + 1
            if blank > _MOST_BLANK:
                text = f'more than {_MOST_BLANK} blank lines: not read from here on'
                self._problems.add(self.path, line, text)
                return
            if any(row):
                yield line, row

    def _length_fault(self, row: list[str]) -> str | None:
        """What is wrong with the number of fields; empty ones too many are taken off."""
        width = len(self._header.names)
        if len(row) > width and not any(field.strip() for field in row[width:]):
            del row[width:]
        if len(row) != width:
            return f'{len(row)} field' + 's' * (len(row) != 1) + f', the header has {width}'
        return None

    def _field_fault(self, fields: Sequence[str]) -> str | None:
        for key, field in zip(self._columns, fields):
            bad = _UNUSABLE.search(field)
            if bad and self._private:
                return f'{key}: holds {bad.group()!r}, which is no part of a value'
            if bad and bad.group() < ' ':
                return f'{key}: {field[:_SHOWN]!r} holds {bad.group()!r}; a quote may be missing'
            if bad:
                text = field[:_SHOWN].encode(errors='surrogateescape')
                return (
                    f'{key}: {text!r} is not {self.encoding}; save the table as UTF-8 (converters '
                    'take others: --encoding cp1252)'
                )
        return None
