# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Labels of films that a table names by file, UID or accession number."""

import math
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from mmfrac.datasets.labels import names_nobody
from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.plain_csv import BOX, check_corners, unboxed_fault
from mmfrac.preparation.dicom_folder.header import DicomHeader
from mmfrac.preparation.tables.values import (
    BLANKS,
    LABEL_WORDS,
    RawBox,
    Size,
    read_label,
    read_length,
    read_number,
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
_OF_BOX = 'rows whose width and height are those of their box'
# a name that is that of one film, wherever it lies
_UID = re.compile(r'(?=.{20})[0-2](\.\d+){2,}')
_SIDES = ('width', 'height')
# of sides of boxes beside the differences of their corners, px
_ROUNDING = 1e-3
_OPTIONAL = {
    **_KEYS,
    **{name: (name,) for name in (*BOX, 'site', *_SIDES)},
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


class _Path(NamedTuple):
    """What the path of a row names.

    Attributes:
        folder (str): Its folders, as :func:`_folder` gives them. Defaults to none.
        base (str): Its name. Defaults to ''.
        key (str): Its name, without suffix where no file has it. Defaults to ''.
        found (Sequence[str]): Files of this name. Defaults to none.
        fits (Sequence[str]): Those whose folders agree with its own. Defaults to none.
    """

    folder: str = ''
    base: str = ''
    key: str = ''
    found: Sequence[str] = ()
    fits: Sequence[str] = ()


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
        self._table = conversion.table(table, wanted, optional, private=True, renamable=True)
        conversion.check_headers()
        self.name = self._table.name
        self._check_columns()
        self._entries: dict[str, dict[str, Entry]] = {key: {} for key in _KEYS}
        self._missing = self._first_missing = 0
        names = list(names) if self._table.has('path') else []
        self._by_base = _by_base(names)
        self._folders = set(map(_folder, names)) - {''}
        self._repeated = _repeated_suffixes(names)
        # files whose name others have, too, by all their folders and by each end of them
        self._by_folder: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._by_end: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._index_repeated()
        # of those, the ones that a last folder and a name may mean where the folders do not agree
        self._near: dict[tuple[str, str], list[str]] = {}
        # whether the one folder of the files is one that the table calls by another name
        self._is_renamed = False
        # whether the table has the files of several folders in one that is not here
        self._is_flat = False
        # of each file that a path names: line and folders of the longest one, as the table has them
        self._path_of: dict[str, tuple[int, str]] = {}
        # rows with a box and a width or height: line, entry, cells and box
        self._sized: list[tuple[int, Entry, Mapping[str, str], Sequence[float]]] = []

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
                table.name,
                'header',
                f'no column that names films; one of {every} is wanted; if one has another name: '
                '--column path=OTHER',
            )
        check_corners(table, self._conversion)
        self._conversion.check_headers()

    def _index_repeated(self) -> None:
        for key, names in self._by_base.items():
            for name in names if len(names) > 1 else ():
                folder = _folder(name)
                self._by_folder[folder, key].append(name)
                for end in _ends_of(folder):
                    self._by_end[end, key].append(name)

    def read(self) -> None:
        """Read its rows."""
        table = self._table
        # rows whose folders are not those of the file of this name: read when all others are known
        elsewhere: dict[int, tuple[dict[str, str], _Path]] = {}
        # their folders, and the files of their names, of which only counts whether there are several
        theirs: set[str] = set()
        named: set[str] = set()
        # folders of all rows
        folders: set[str] = set()
        # folders of all files that rows name, and whether those of any row agree with them
        here: set[str] = set()
        agrees = False
        for line, fields in table.rows():
            row = dict(zip(table.keys, fields))
            path = self._files_named(row['path'])
            if path.base:
                folders.add(path.folder)
            if len(here) < 2:
                here.update(map(_folder, path.fits or path.found))
            agrees = agrees or bool(path.folder and any(map(_folder, path.fits)))
            if path.found and not path.fits:
                elsewhere[line] = row, path
                theirs.add(path.folder)
                if len(named) < 2:
                    named.update(path.found)
            else:
                self._read_row(line, row, path)
        is_one = len(here) == len(self._folders) == 1 and not agrees
        longest = max(theirs, key=len, default='')
        # several names are those of several folders; of one film they are a problem that is told below
        self._is_renamed = is_one and (
            len(named) == 1 or all(_ends(longest, one) for one in theirs)
        )
        self._is_flat = len(folders) == 1 and not any(
            _ends(longest, folder) for folder in self._folders
        )
        for line, (row, path) in elsewhere.items():
            self._read_row(line, row, path)
        self._read_sizes()
        for entry in (one for some in self._entries.values() for one in some.values()):
            if entry.boxes and entry.unboxed:
                fault = unboxed_fault(entry.boxes)
                self._conversion.problems.add(self.name, entry.unboxed, fault)

    def _read_row(self, line: int, row: Mapping[str, str], path: _Path) -> None:
        try:
            kind, key = self._key(line, row, path)
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

    def _key(self, line: int, row: Mapping[str, str], path: _Path) -> tuple[str, str | None]:
        for kind in _KEYS:
            if row[kind].lower() not in BLANKS:
                return kind, self._path(line, path) if kind == 'path' else row[kind]
        raise ValueError('no file, UID or accession number')

    def _path(self, line: int, path: _Path) -> str | None:
        """File of the folder that a row names, whatever folders it puts before; None: not there."""
        folder, base = path.folder, path.base
        fits = path.fits or self._known_by_base(path)
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

    def _files_named(self, path: str) -> _Path:
        """What a row's path names; nothing without one."""
        if path.lower() in BLANKS:
            return _Path()
        path = posixpath.normpath(path.replace('\\', '/'))
        folder, base = _folder(path), posixpath.basename(path)
        key = base if base in self._by_base else _stem(base)
        found = self._by_base.get(key, [])
        if not folder:
            return _Path(folder, base, key, found, found)
        if len(found) < 2:
            fits = [name for name in found if self._agrees(folder, name)]
            return _Path(folder, base, key, found, fits)
        # the same: a look at each of them for each row takes long where every folder has an IM0001
        fits = self._by_end.get((folder, key), [])
        for end in (*_ends_of(folder)[1:], *([] if folder in self._folders else [''])):
            fits = fits + self._by_folder.get((end, key), [])
        return _Path(folder, base, key, found, fits)

    def _known_by_base(self, path: _Path) -> Sequence[str]:
        """Files that a path may mean although their folders do not agree."""
        if _UID.fullmatch(_stem(path.base)):
            return path.found
        if path.folder in self._folders:
            return ()
        if self._is_renamed or (self._is_flat and len(path.found) == 1):
            return self._not_repeated(path.found)
        last = posixpath.basename(path.folder)
        if len(path.found) > 1:
            where = f'/{last}', path.key
            if where not in self._near:
                self._near[where] = self._not_repeated(self._by_end.get(where, ()))
            return self._near[where]
        near = [name for name in path.found if posixpath.basename(_folder(name)) == last]
        return self._not_repeated(near)

    def _not_repeated(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if _suffix(name) not in self._repeated]

    def _add(self, line: int, row: Mapping[str, str], entries: dict[str, Entry], key: str) -> Entry:
        label = _read('label', row, read_label, LABEL_WORDS)
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
        # devices fill the field of the header with a 0, and tables are made of headers
        self._set(entry, 'patient', row['patient'] if names_patient(row['patient']) else '')
        if is_unboxed:
            entry.unboxed = entry.unboxed or line
        if has_box:
            numbers = [_read(name, row, self._table.number, 'a number (px)') for name in BOX]
            site = '' if row['site'].lower() in BLANKS else row['site']
            first = entry.boxes.setdefault((*numbers, site), line)
            if any(row[side].lower() not in BLANKS for side in _SIDES):
                self._sized.append((line, entry, row, numbers))
        else:
            first = entry.line
        if first != line:
            self._conversion.leave_out(REPEATED)
        return entry

    def _read_sizes(self) -> None:
        """Sizes of the copies that boxes were drawn on, unless all are those of the boxes themselves."""
        if all(_are_of_box(row, box) for _, _, row, box in self._sized):
            if self._sized:
                self._conversion.noted[_OF_BOX] += len(self._sized)
            return
        for line, entry, row, _ in self._sized:
            try:
                self._set(entry, 'size', _read_size(row))
            except ValueError as error:
                self._conversion.problems.add(self.name, line, str(error))

    def _set(self, entry: Entry, name: str, value: str | Size) -> None:
        """Patient or size of a row; the rows of a film name one of each, or none."""
        known = getattr(entry, name)
        if value and known and value != known:
            raise ValueError(f'another {name} than for the same film on line {entry.line}')
        setattr(entry, name, known or value)


def names_patient(patient: str) -> bool:
    """Whether PatientID names a patient; devices fill the field with a 0, too.

    Args:
        patient (str): Of a header, or of a table that was made of headers.
    """
    return not names_nobody(patient) and patient != '0'


def _read_size(row: Mapping[str, str]) -> Size:
    """Width and height of the copy that the box of a row was drawn on."""
    sides = [side for side in _SIDES if row[side].lower() not in BLANKS]
    if len(sides) == 1:
        raise ValueError(f'the copy on which boxes were drawn has a {sides[0]} alone')
    width, height = (_read(side, row, read_length, 'a length (px)') for side in _SIDES)
    return width, height


def _are_of_box(row: Mapping[str, str], box: Sequence[float]) -> bool:
    """Whether width and height of a row are those of its box (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = box
    try:
        width, height = (read_number(row[side], decimal_comma=True) for side in _SIDES)
    except ValueError:
        return False
    return all(
        math.isclose(*pair, abs_tol=_ROUNDING) for pair in ((width, x2 - x1), (height, y2 - y1))
    )


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


def _ends_of(folder: str) -> list[str]:
    """Ends of folders, the longest first: /a/b and /b of /a/b."""
    return [folder[at:] for at, sign in enumerate(folder) if sign == '/']


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
