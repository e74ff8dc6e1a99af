# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A folder of DICOM files and a table of labels as a data set."""

import csv
import filecmp
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.dicom_folder.header import (
    INDEX,
    NO_DICOM,
    DicomHeader,
    crashed_header,
    read_header,
)
from mmfrac.preparation.dicom_folder.label_table import LabelTable
from mmfrac.preparation.dicom_folder.pseudonyms import pseudonym, read_key
from mmfrac.preparation.dicom_folder.view import FRONTAL
from mmfrac.preparation.tables.values import ImageRow
from mmfrac.utils.io import atomic_open, atomic_path
from mmfrac.utils.processes import map_files

MODALITIES = ('CR', 'DX', 'DR', 'RG', 'OT')

PATIENT_IDS = ('pseudonym', 'original')

UNKNOWN_VIEWS = ('keep', 'drop')


@dataclass(frozen=True)
class FolderOptions:
    """Choices for a folder of DICOM files.

    Attributes:
        patient_ids (str): 'pseudonym': a keyed hash stands for PatientID; 'original': PatientID itself,
            for films that were de-identified before. Defaults to 'pseudonym'.
        key_file (str or PathLike, optional): Of the hash. Defaults to see :func:`read_key`.
        unknown_views (str): 'keep' or 'drop' films whose header does not tell the view. Defaults to
            'keep'.
        modalities (Sequence[str]): Modalities to keep; films without one are kept. Defaults to CR, DX,
            DR, RG, OT.
        body_parts (Sequence[str], optional): BodyPartExamined to keep; films without one are kept.
            Defaults to all.
        links (str or PathLike, optional): Folder for links to the films under names that tell nothing;
            the COCO file then names those. Defaults to none.
        columns (Mapping[str, str], optional): Other names of columns of the table.
        left_out_file (str or PathLike, optional): CSV for every file that is left out.

    Raises:
        ValueError: If a choice does not exist.
    """

    patient_ids: str = 'pseudonym'
    key_file: str | os.PathLike | None = None
    unknown_views: str = 'keep'
    modalities: Sequence[str] = MODALITIES
    body_parts: Sequence[str] | None = None
    links: str | os.PathLike | None = None
    columns: Mapping[str, str] | None = None
    left_out_file: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        for name, valid in (('patient_ids', PATIENT_IDS), ('unknown_views', UNKNOWN_VIEWS)):
            if getattr(self, name) not in valid:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {list(valid)}')


def _list_files(folder: str) -> list[str]:
    """Files below a folder, sorted; folders behind links are entered once.

    Args:
        folder (str): The folder.

    Returns:
        list[str]: Paths below it, with slashes.
    """
    names: list[str] = []
    entered = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True):
        for inner in list(folders):
            path = os.path.join(parent, inner)
            if os.path.islink(path):
                real = os.path.realpath(path)
                if real in entered:
                    folders.remove(inner)
                entered.add(real)
        below = os.path.relpath(parent, folder)
        names += [file if below == '.' else os.path.join(below, file) for file in files]
    return sorted(name.replace(os.sep, '/') for name in names)


_COPY = 'copy of another film'

# What stands in PatientID where no id does.
_NO_IDS = frozenset({'', '0', 'none', 'unknown', 'anonymous', 'anonymized', 'anonymised', 'anon'})


class LeftOut(NamedTuple):
    """A file that is left out.

    Attributes:
        file (str): Path below the folder.
        reason (str): As in the summary.
        detail (str): Of the reason. Defaults to none.
    """

    file: str
    reason: str
    detail: str = ''


def convert_dicom_folder(
    folder: str | os.PathLike,
    out_file: str | os.PathLike,
    table: str | os.PathLike | None = None,
    options: ConvertOptions | None = None,
    folder_options: FolderOptions | None = None,
) -> tuple[ConversionSummary, list[LeftOut]]:
    """Convert a folder of DICOM files, whatever else lies in it.

    Patient, study, view and laterality are read from the headers. Nothing else of a header is copied:
    no name, no date, no description; patient and study are pseudonyms (keyed hashes) unless
    ``patient_ids='original'``. A film whose path holds a part of the patient's name or the date of birth
    is left out, unless ``links`` gives it another. Laterals and obliques are left out
    (``options.views``), as are files without pixels, with several frames, and damaged ones.

    The table has a row a film, or a row a box, with ``label`` and one of ``path``,
    ``SOPInstanceUID``, ``SeriesInstanceUID``, ``StudyInstanceUID``, ``AccessionNumber``; boxes are
    ``x1, y1, x2, y2`` (px). Without a table, and where it does not name a film, the label is -1.

    Args:
        folder (str or os.PathLike): Searched with the folders below it.
        out_file (str or os.PathLike): COCO JSON to write.
        table (str or os.PathLike, optional): CSV of labels. Defaults to None.
        options (ConvertOptions, optional): Choices; sizes are always those of the headers. Defaults to
            None.
        folder_options (FolderOptions, optional): More choices. Defaults to None.

    Returns:
        tuple[ConversionSummary, list[LeftOut]]: Counts, and every DICOM file that is left out.

    Raises:
        FileNotFoundError: If the folder or the table is missing.
        AnnotationError: With all problems of the table, or if no film is left; nothing is written then.
    """
    options, more = options or ConvertOptions(), folder_options or FolderOptions()
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise FileNotFoundError(f"no folder of DICOM files '{root}'")
    run = _Run(root, out_file, options, more)
    run.open_table(table)
    summary = run.conversion.write(run.rows())
    run.make_links()
    if more.left_out_file is not None:
        _write_left_out(more.left_out_file, run.left_out)
    return summary, [one for one in run.left_out if one.reason not in (NO_DICOM, INDEX)]


class _Run:
    """One conversion of a folder."""

    def __init__(
        self,
        root: str,
        out_file: str | os.PathLike,
        options: ConvertOptions,
        more: FolderOptions,
    ) -> None:
        self.root, self.options, self.more = root, options, more
        # a film's header has been read when it is written: its file is not looked at again
        settings = replace(options, size='table', verify=False, missing='error')
        self.conversion = Conversion(root, out_file, settings, 'hospital', map(str.lower, FRONTAL))
        self.conversion.reads(root)
        self.names = _list_files(root)
        self.table: LabelTable | None = None
        self.left_out: list[LeftOut] = []
        self._first_of: dict[str, str] = {}
        self._links: dict[str, str] = {}

    @cached_property
    def _key(self) -> bytes:
        return read_key(self.more.key_file)

    def open_table(self, table: str | os.PathLike | None) -> None:
        """Open the table of labels."""
        if table is not None:
            path = os.fspath(table)
            self.table = LabelTable(path, self.conversion, self.names, self.more.columns)

    def rows(self) -> Iterator[ImageRow]:
        """Films, file by file."""
        if self.table is not None:
            # only now: what is wrong with its rows is told together with what is wrong with films
            self.table.read()
        read = partial(
            read_header,
            folder=self.root,
            verify=self.options.verify,
            any_name=self.more.links is not None,
        )
        headers = map_files(read, self.names, self.options.workers, crashed_header)
        hidden = not self.options.progress
        for header in tqdm(headers, 'headers', len(self.names), unit='file', disable=hidden):
            row = self._row(header)
            if row is not None:
                yield row
        if self.table is not None:
            self.table.count_unused()

    def make_links(self) -> None:
        """Link to the films under their neutral names."""
        if self.more.links is None:
            return
        folder = Path(self.more.links)
        folder.mkdir(parents=True, exist_ok=True)
        for link, name in self._links.items():
            with atomic_path(folder / link) as temporary:
                temporary.symlink_to(os.path.abspath(os.path.join(self.root, name)))

    def _row(self, header: DicomHeader) -> ImageRow | None:
        """The film of a file, or None with the reason noted."""
        reason, detail = self._reason(header)
        if reason:
            self.conversion.leave_out(reason)
            self.left_out.append(LeftOut(header.name, reason, detail))
            return None
        entry = self.table.find(header) if self.table else None
        label = -1 if entry is None else self.conversion.decide(entry.label)
        if label is None:
            self.left_out.append(LeftOut(header.name, 'label that is dropped'))
            return None
        if not header.view:
            self.conversion.noted['films whose header does not tell the view'] += 1
        if self.table and entry is None:
            self.conversion.noted['films that the table does not name (label -1)'] += 1
        extra = dict(view=header.view, laterality=header.laterality)
        if header.study:
            extra['study_id'] = self._stands_for('study', header.study)
        boxes = entry.raw_boxes() if entry else []
        return ImageRow(
            self.table.name if self.table else os.path.basename(self.root),
            entry.line if entry else header.name,
            (self._file_name(header),),
            label,
            self._patient(header),
            bool(boxes),
            boxes,
            header.size,
            extra={key: value for key, value in extra.items() if value},
        )

    def _reason(self, header: DicomHeader) -> tuple[str, str]:
        """Why a file is left out, in short and in full; '' if it is not."""
        more = self.more
        if header.fault:
            return header.fault, header.detail
        if header.modality and header.modality not in more.modalities:
            return f'modality {header.modality}', ''
        if header.body_part and more.body_parts and header.body_part not in more.body_parts:
            return f'body part {header.body_part}', ''
        if not header.view and more.unknown_views == 'drop':
            return 'view not given', ''
        if header.view and not self.conversion.wants_view(header.view):
            return f'view {header.view}', ''
        first = self._first_of.setdefault(header.instance or header.name, header.name)
        if first != header.name:
            if _same_bytes(os.path.join(self.root, first), os.path.join(self.root, header.name)):
                return _COPY, f'of {first}'
            self.conversion.noted['other films with the SOPInstanceUID of a film'] += 1
        return '', ''

    def _patient(self, header: DicomHeader) -> str:
        patient = header.patient
        if patient.lower() in _NO_IDS:
            self.conversion.noted['films without PatientID (a patient a study)'] += 1
            return self._stands_for('patient', f'study {header.study or header.name}')
        if header.id_tells_identity and self.more.patient_ids == 'original':
            self.conversion.changed['patient ids that hold a name or date of birth, hashed'] += 1
            return pseudonym(self._key, 'patient', patient)
        return self._stands_for('patient', patient)

    def _stands_for(self, kind: str, text: str) -> str:
        return text if self.more.patient_ids == 'original' else pseudonym(self._key, kind, text)

    def _file_name(self, header: DicomHeader) -> str:
        if self.more.links is None:
            return header.name
        link = pseudonym(self._key, 'film', f'{header.instance} {header.name}') + '.dcm'
        self._links[link] = header.name
        return link


def _same_bytes(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _write_left_out(path: str | os.PathLike, left_out: Sequence[LeftOut]) -> None:
    with atomic_open(path, errors='surrogateescape', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(LeftOut._fields)
        table.writerows(left_out)
