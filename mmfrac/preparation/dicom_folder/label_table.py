# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Labels of films that a table names by file, UID or accession number."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.plain_csv import BOX, check_corners
from mmfrac.preparation.dicom_folder.header import DicomHeader
from mmfrac.preparation.tables.values import BLANKS, RawBox, read_label

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
_OPTIONAL = {**_KEYS, **{name: (name,) for name in BOX}, 'site': ('site',)}


@dataclass(slots=True)
class Entry:
    """What a table says of a film, or of the films of a study.

    Attributes:
        line (int): Of the first of its rows.
        label (int, optional): 1, 0, -1 uncertain; None: blank.
        boxes (dict): Line of each box (x1, y1, x2, y2, site).
        image (str): The film that was given it; '' as long as there is none.
        beside (dict): Line of what else names the film in its rows (key, value).
    """

    line: int
    label: int | None
    boxes: dict[tuple, int] = field(default_factory=dict)
    image: str = ''
    beside: dict[tuple[str, str], int] = field(default_factory=dict)

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
        for kind, entries in self._entries.items():
            key = header.name if kind == 'path' else getattr(header, kind)
            entry = entries.get(key) if key else None
            if entry is None:
                continue
            if entry.image and entry.boxes:
                text = f'boxes of {kind} on this line, which has several films: name the file'
                self._conversion.problems.add(self.name, entry.line, text)
            entry.image = entry.image or header.name
            self._compare(header, kind, entry)
            return entry
        return None

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
        for line, fields in table.rows():
            row = dict(zip(table.keys, fields))
            try:
                kind, key = self._key(line, row)
                if key is None and row['instance'].lower() not in BLANKS:
                    self._conversion.noted[_OTHER_PATH] += 1
                    kind, key = 'instance', row['instance']
                if key is None:
                    self._missing += 1
                    self._first_missing = self._first_missing or line
                else:
                    entry = self._add(line, row, self._entries[kind], key)
                    for other in list(_KEYS)[list(_KEYS).index(kind) + 1 :]:
                        if row[other].lower() not in BLANKS:
                            entry.beside.setdefault((other, row[other]), line)
            except ValueError as error:
                self._conversion.problems.add(table.name, line, str(error))

    def _key(self, line: int, row: Mapping[str, str]) -> tuple[str, str | None]:
        for kind in _KEYS:
            if row[kind].lower() not in BLANKS:
                key = self._path(line, row[kind]) if kind == 'path' else row[kind]
                return kind, key
        raise ValueError('no file, UID or accession number')

    def _path(self, line: int, path: str) -> str | None:
        """File of the folder that a row names, whatever folders it puts before; None: not there."""
        path = posixpath.normpath(path.replace('\\', '/'))
        base, folder = posixpath.basename(path), _folder(path)
        found = self._by_base.get(base) or self._by_base.get(_stem(base), [])
        fits = [name for name in found if self._agrees(folder, name)]
        if not fits and self._is_known_by_base(folder, base, found):
            fits = found
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

    def _is_known_by_base(self, folder: str, base: str, found: Sequence[str]) -> bool:
        """Whether a name tells which file is meant where the folders do not agree."""
        repeated = any(_suffix(name) in self._repeated for name in found)
        return bool(_UID.fullmatch(_stem(base))) or not (repeated or folder in self._folders)

    def _add(self, line: int, row: Mapping[str, str], entries: dict[str, Entry], key: str) -> Entry:
        label = _read('label', row, read_label, '1, 0, -1 (uncertain), yes, no or blank')
        blank = [name for name in BOX if row[name].lower() in BLANKS]
        if blank and len(blank) < len(BOX):
            raise ValueError(f'a box is x1, y1, x2, y2 (px), but {", ".join(blank)} has no number')
        has_box = not blank
        if has_box and label not in (1, None):
            raise ValueError(f'label {label}, but a box; a film with a fracture box has 1')
        label = 1 if has_box else label
        entry = entries.setdefault(key, Entry(line, label))
        if entry.label is None:
            entry.label = label
        if label is not None and label != entry.label:
            raise ValueError(
                f'label {label}, but {entry.label} for the same film on line {entry.line}'
            )
        if has_box:
            numbers = [_read(name, row, self._table.number, 'a number (px)') for name in BOX]
            first = entry.boxes.setdefault((*numbers, row['site']), line)
        else:
            first = entry.line
        if first != line:
            self._conversion.leave_out(REPEATED)
        return entry


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
