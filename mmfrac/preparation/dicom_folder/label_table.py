# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Labels of films that a table names by file, UID or accession number."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mmfrac.datasets.labels import names_nobody
from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.plain_csv import BOX, check_corners, unboxed_fault
from mmfrac.preparation.dicom_folder.header import DicomHeader
from mmfrac.preparation.tables.values import (
    BLANKS,
    RawBox,
    Size,
    read_label,
    read_length,
)

# From the surest to the widest: a film is looked for in this order.
_KEYS = {
    'path': ('path', 'file_name', 'filename', 'file', 'image'),
    'instance': ('SOPInstanceUID', 'sop_instance_uid', 'image_uid'),
    'series': ('SeriesInstanceUID', 'series_instance_uid', 'series_uid'),
    'study': ('StudyInstanceUID', 'study_instance_uid', 'study_uid'),
    'accession': ('AccessionNumber', 'accession_number', 'accession'),
}
LABEL = ('label', 'fracture')
_NO_IMAGE = 'rows of the table without a film that is kept'
_OTHER_PATH = 'rows whose path is no file here, taken by their SOPInstanceUID'
_FIRST = 'line of the first of these rows'
# a name that is that of one film, wherever it lies
_UID = re.compile(r'(?=.{20})[0-2](\.\d+){2,}')
_OPTIONAL = {
    **_KEYS,
    **{name: (name,) for name in (*BOX, 'site', 'width', 'height')},
    'patient': ('patient_id', 'PatientID'),
}


@dataclass(slots=True)
class Entry:
    """What a table says of a film, or of the films of a study.

    Attributes:
        line (int): Of the first of its rows.
        label (int, optional): 1, 0, -1 uncertain; None: blank.
        boxes (dict): Line of each box (x1, y1, x2, y2, site).
        image (str): The film that was given it; '' as long as there is none.
        beside (dict): Line of what else names the film in its rows (key, value).
        unboxed (int, optional): The first of its rows with label 1 and no box.
        patient (str): Patient; '' where its rows name nobody.
        size (tuple[int, int], optional): Width and height (px) of the copy that its boxes were drawn on.
    """

    line: int
    label: int | None
    boxes: dict[tuple, int] = field(default_factory=dict)
    image: str = ''
    beside: dict[tuple[str, str], int] = field(default_factory=dict)
    unboxed: int | None = None
    patient: str = ''
    size: Size | None = None

    def raw_boxes(self) -> list[RawBox]:
        """Its boxes, unchecked."""
        return [RawBox(list(box), line, site or None) for (*box, site), line in self.boxes.items()]


class LabelTable:
    """Entries of a table by what names them, of a row a film or a row a box.

    Args:
        table (str): The table.
        conversion (Conversion): Takes its problems.
        names (Iterable[str]): Files of the folder.
        columns (Mapping[str, str]): Other names of columns, e.g. ``dict(label='fx')``. Defaults to None.

    Raises:
        FileNotFoundError: If there is no table.
        ValueError: If ``columns`` renames a column that does not exist.
        AnnotationError: If the table lacks a column.
    """

    def __init__(
        self,
        table: str,
        conversion: Conversion,
        names: Iterable[str],
        columns: Mapping[str, str] | None = None,
    ) -> None:
        wanted: dict[str, tuple[str, ...]] = {'label': LABEL}
        optional: dict[str, tuple[str, ...]] = dict(_OPTIONAL)
        keys = {
            alias: key
            for key, aliases in (wanted | optional).items()
            for alias in (key, *map(str.lower, aliases))
        }
        for name, other in (columns or {}).items():
            key = keys.get(name.lower())
            if key is None:
                raise ValueError(f'column {name!r} is none of {sorted(keys)}')
            optional.pop(key, None)
            wanted[key] = (other,)
        self._conversion = conversion
        self._table = conversion.table(table, wanted, optional, private=True)
        conversion.check_headers()
        self.name = self._table.name
        self._check_columns()
        self._entries: dict[str, dict[str, Entry]] = {key: {} for key in _KEYS}
        self._missing = self._first_missing = 0
        names = list(names) if self._table.has('path') else []
        self._by_base = _by_base(names)
        self._folders = set(map(_folder, names)) - {''}
        self._repeated = _repeated_suffixes(names)
        # whether the one folder of the files is one that the table calls by another name
        self._is_renamed = False
        # of each file that a path names: line and folders of the longest one, as the table has them
        self._path_of: dict[str, tuple[int, str]] = {}

    def count_unused(self) -> None:
        """Count entries that no film was given; a problem if that is all of them."""
        entries = [entry for some in self._entries.values() for entry in some.values()]
        lost = [entry.line for entry in entries if not entry.image]
        unused = self._missing + len(lost)
        if unused and unused == self._missing + len(entries):
            text = f'none of its {unused} rows names a film that is kept; do names, folders or UIDs fit?'
            self._conversion.problems.add(self.name, 'all lines', text)
        elif unused:
            self._conversion.leave_out(_NO_IMAGE, unused)
            first = min(lost) if lost else self._first_missing
            self._conversion.noted[_FIRST] = min(first, self._first_missing or first)

    def find(self, header: DicomHeader) -> Entry | None:
        """Entry of a film; one with boxes belongs to one film only.

        Args:
            header (DicomHeader): The film's.

        Returns:
            Entry or None: None if no row names it.
        """
        kind, entry = self._entry_of(header)
        if entry is None:
            return None
        if entry.image and entry.boxes:
            text = f'boxes of {kind} on this line, which has several films: name the file'
            self._conversion.problems.add(self.name, entry.line, text)
        entry.image = entry.image or header.name
        self._compare(header, kind, entry)
        return entry

    def patient_of(self, header: DicomHeader) -> str:
        """Patient of a film by the rows that :meth:`find` gives it; '' where they name nobody."""
        entry = self._entry_of(header)[1]
        return entry.patient if entry else ''

    def _entry_of(self, header: DicomHeader) -> tuple[str, Entry | None]:
        """The surest entry that names a film, and by what it does."""
        for kind, entries in self._entries.items():
            key = header.name if kind == 'path' else getattr(header, kind)
            if key and key in entries:
                return kind, entries[key]
        return '', None

    def _compare(self, header: DicomHeader, kind: str, entry: Entry) -> None:
        """What else the table says of a film must fit the entry that it was given."""
        for (other, value), line in entry.beside.items():
            known = getattr(header, other)
            if known and _plain_key(other, known) != _plain_key(other, value):
                text = f'its {kind} is that of a film, its {other} is not that of the same film'
                self._conversion.problems.add(self.name, line, text)
        wider = list(_KEYS)[list(_KEYS).index(kind) + 1 :]
        for other in wider:
            second = self._entries[other].get(getattr(header, other) or '')
            if second is None or {entry.label, second.label} != {0, 1}:
                continue
            if entry.label == 0 and other != 'instance':
                # one film of a study may not show the fracture of another
                self._conversion.noted[f'films of label 0 beside label 1 of their {other}'] += 1
                continue
            text = (
                f'label {entry.label} of a film by its {kind}, but {second.label} by its {other} on '
                f'line {second.line}'
            )
            self._conversion.problems.add(self.name, entry.line, text)

    def names_file(self, header: DicomHeader) -> bool:
        """Whether a row names an image itself, by its path or its UID."""
        entries = self._entries
        return header.name in entries['path'] or header.instance in entries['instance']

    def _check_columns(self) -> None:
        table, problems = self._table, self._conversion.problems
        if not any(table.has(key) for key in _KEYS):
            every = ', '.join(names[0] for names in _KEYS.values())
            problems.add(
                table.name, 'header', f'no column that names films; one of {every} is wanted'
            )
        check_corners(table, self._conversion)
        self._conversion.check_headers()

    def read(self) -> None:
        """Read its rows."""
        table = self._table
        # rows whose folders are not those of the file of this name: read when all others are known
        elsewhere: dict[int, dict[str, str]] = {}
        # their folders, and the files of their names
        theirs: set[str] = set()
        named: set[str] = set()
        # folders of all files that rows name, and whether those of any row agree with them
        here: set[str] = set()
        agrees = False
        for line, fields in table.rows():
            row = dict(zip(table.keys, fields))
            folder, _, found = self._files_named(row['path'])
            fits = [name for name in found if self._agrees(folder, name)]
            here |= set(map(_folder, fits or found))
            agrees = agrees or any(folder and _folder(name) for name in fits)
            if found and not fits:
                elsewhere[line] = row
                theirs.add(folder)
                named |= set(found)
            else:
                self._read_row(line, row)
        is_one = len(here) == len(self._folders) == 1 and not agrees
        longest = max(theirs, key=len, default='')
        # several names are those of several folders; of one film they are a problem that is told below
        self._is_renamed = is_one and (
            len(named) == 1 or all(_ends(longest, one) for one in theirs)
        )
        for line, row in elsewhere.items():
            self._read_row(line, row)
        for entry in (one for some in self._entries.values() for one in some.values()):
            if entry.boxes and entry.unboxed:
                fault = unboxed_fault(entry.boxes)
                self._conversion.problems.add(self.name, entry.unboxed, fault)

    def _read_row(self, line: int, row: Mapping[str, str]) -> None:
        try:
            kind, key = self._key(line, row)
            if key is None and row['instance'].lower() not in BLANKS:
                self._conversion.noted[_OTHER_PATH] += 1
                kind, key = 'instance', row['instance']
            if key is None:
                self._missing += 1
                self._first_missing = min(line, self._first_missing or line)
            else:
                entry = self._add(line, row, self._entries[kind], key)
                for other in list(_KEYS)[list(_KEYS).index(kind) + 1 :]:
                    if row[other].lower() not in BLANKS:
                        entry.beside.setdefault((other, row[other]), line)
        except ValueError as error:
            self._conversion.problems.add(self.name, line, str(error))

    def _key(self, line: int, row: Mapping[str, str]) -> tuple[str, str | None]:
        for kind in _KEYS:
            if row[kind].lower() not in BLANKS:
                key = self._path(line, row[kind]) if kind == 'path' else row[kind]
                return kind, key
        raise ValueError('no file, UID or accession number')

    def _path(self, line: int, path: str) -> str | None:
        """File of the folder that a row names, whatever folders it puts before; None: not there."""
        folder, base, found = self._files_named(path)
        fits = [name for name in found if self._agrees(folder, name)]
        if not fits:
            fits = [name for name in found if self._is_known_by_base(folder, base, name)]
        if len(fits) > 1:
            raise ValueError(f'its path may be {len(fits)} files: name its folder')
        if not fits:
            return None
        first, other = self._path_of.setdefault(fits[0], (line, folder))
        if not (_ends(folder, other) or _UID.fullmatch(_stem(base))):
            raise ValueError(
                f'its path and that on line {first} differ in their folders, but are one file here: '
                'name the folders as they are here'
            )
        if len(folder) > len(other):
            self._path_of[fits[0]] = (line, folder)
        return fits[0]

    def _agrees(self, folder: str, name: str) -> bool:
        """Whether a path's folders are those of a file, as far as both are given."""
        # a file without folders may lie in any, but not in another one that is here
        return _ends(folder, _folder(name)) and bool(_folder(name) or folder not in self._folders)

    def _files_named(self, path: str) -> tuple[str, str, list[str]]:
        """Folders and name of a row's path, and the files of this name; '', '' and none without one."""
        if path.lower() in BLANKS:
            return '', '', []
        path = posixpath.normpath(path.replace('\\', '/'))
        base = posixpath.basename(path)
        return _folder(path), base, self._by_base.get(base) or self._by_base.get(_stem(base), [])

    def _is_known_by_base(self, folder: str, base: str, name: str) -> bool:
        """Whether a file is the one that a path means although their folders do not agree."""
        if _UID.fullmatch(_stem(base)):
            return True
        if _suffix(name) in self._repeated or folder in self._folders:
            return False
        return self._is_renamed or posixpath.basename(folder) == posixpath.basename(_folder(name))

    def _add(self, line: int, row: Mapping[str, str], entries: dict[str, Entry], key: str) -> Entry:
        label = _read('label', row, read_label, '1, 0, -1 (uncertain), yes, no or blank')
        blank = [name for name in BOX if row[name].lower() in BLANKS]
        if blank and len(blank) < len(BOX):
            raise ValueError(f'a box is x1, y1, x2, y2 (px), but {", ".join(blank)} has no number')
        has_box = not blank
        if has_box and label not in (1, None):
            raise ValueError(f'label {label}, but a box; a film with a fracture box has 1')
        is_unboxed = label == 1 and not has_box
        label = 1 if has_box else label
        entry = entries.setdefault(key, Entry(line, label))
        if entry.label is None:
            entry.label = label
        if label is not None and label != entry.label:
            raise ValueError(
                f'label {label}, but {entry.label} for the same film on line {entry.line}'
            )
        self._complete(entry, row, has_box)
        if is_unboxed:
            entry.unboxed = entry.unboxed or line
        if has_box:
            numbers = [_read(name, row, self._table.number, 'a number (px)') for name in BOX]
            site = '' if row['site'].lower() in BLANKS else row['site']
            first = entry.boxes.setdefault((*numbers, site), line)
        else:
            first = entry.line
        if first != line:
            self._conversion.leave_out(REPEATED)
        return entry

    def _complete(self, entry: Entry, row: Mapping[str, str], has_box: bool) -> None:
        """Read patient and, with a box, size of a row; the rows of a film name one of each, or none."""
        sides = [
            side for side in ('width', 'height') if has_box and row[side].lower() not in BLANKS
        ]
        patient = '' if names_nobody(row['patient']) else row['patient']
        if len(sides) == 1:
            raise ValueError(f'the copy on which boxes were drawn has a {sides[0]} alone')
        size = None
        if sides:
            width, height = (_read(side, row, read_length, 'a length (px)') for side in sides)
            size = (width, height)
        for name, value in (('patient', patient), ('size', size)):
            known = getattr(entry, name)
            if value and known and value != known:
                raise ValueError(f'another {name} than for the same film on line {entry.line}')
            setattr(entry, name, known or value)


def _plain_key(kind: str, value: str) -> str:
    """A key as spreadsheets may have left it: numbers lose zeros, or gain some."""
    return value.removesuffix('.0').lstrip('0') if kind == 'accession' else value


_Value = TypeVar('_Value')


def _read(
    column: str, row: Mapping[str, str], read: Callable[[str], _Value], wanted: str
) -> _Value:
    """A value of a row; where it cannot be read the error says which, never what the cell holds.

    Args:
        column (str): Key of the column.
        row (Mapping[str, str]): Cells by column.
        read (Callable): Reads the text of a cell, or raises a ``ValueError`` that quotes it.
        wanted (str): What it reads, for the message.

    Raises:
        ValueError: If the cell holds something else; without a cause, which would quote it.
    """
    try:
        return read(row[column])
    except ValueError:
        pass
    raise ValueError(
        f'column {column} does not hold {wanted}; what it holds is not shown, as it may be about a '
        'patient'
    )


def _by_base(names: Iterable[str]) -> dict[str, list[str]]:
    """Files by name, and by name without suffix where that is no file's name itself."""
    bases: dict[str, list[str]] = defaultdict(list)
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        base = posixpath.basename(name)
        bases[base].append(name)
        if _stem(base) != base:
            stems[_stem(base)].append(name)
    return {**stems, **bases}


def _repeated_suffixes(names: Iterable[str]) -> set[str]:
    """Suffixes of files of which two have one name: IM0001 of two patients, so IM0007 tells no film."""
    counts = Counter(map(posixpath.basename, names))
    return {
        _suffix(base)
        for base, count in counts.items()
        # a number tells images of a patient; README and VERSION are none
        if count > 1 and not base.startswith('.') and any(map(str.isdigit, base))
    }


def _folder(path: str) -> str:
    """Folders of a path, each after a slash; '' if there are none."""
    folder = posixpath.dirname(path).strip('/')
    return folder and f'/{folder}'


def _ends(one: str, other: str) -> bool:
    """Whether the shorter one of two folders is the end of the longer one."""
    return one.endswith(other) or other.endswith(one)


def _stem(base: str) -> str:
    """Without the suffix of a film; numbers behind the last dot of a UID are none."""
    stem, suffix = posixpath.splitext(base)
    return stem if suffix[1:].isalpha() else base


def _suffix(name: str) -> str:
    base = posixpath.basename(name)
    return base.removeprefix(_stem(base))
