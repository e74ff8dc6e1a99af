# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A folder of DICOM files and a table of labels as a data set."""

import csv
import filecmp
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mmfrac.datasets.labels import similar_patients_note
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.dicom_folder.body_part import (
    MODALITIES,
    is_chest,
    modality_name,
    part_name,
)
from mmfrac.preparation.dicom_folder.exposures import REASONS, left_out_of_exposures
from mmfrac.preparation.dicom_folder.header import (
    BURNED_IN,
    DUAL_ENERGY,
    FOR_PROCESSING,
    INDEX,
    NO_DICOM,
    NOT_UPRIGHT,
    REPORT,
    SECONDARY,
    DicomHeader,
    crashed_header,
    read_header,
)
from mmfrac.preparation.dicom_folder.label_table import Entry, LabelTable, names_patient
from mmfrac.preparation.dicom_folder.pseudonyms import LENGTH, default_key_file, pseudonym, read_key
from mmfrac.preparation.dicom_folder.view import FRONTAL, MIRRORED
from mmfrac.preparation.tables.values import ImageRow, read_patient
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import atomic_open, atomic_path, check_output
from mmfrac.utils.processes import map_files
from mmfrac.utils.text import table_cell
from mmfrac.utils.walk import files_below, lies_in

PATIENT_IDS = ('pseudonym', 'original')

NAMES = ('neutral', 'original')

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
        body_parts (Sequence[str], optional): BodyPartExamined to keep, or 'all'; films without one are
            kept unless AnatomicRegionSequence or their descriptions name another part ('HAND PA') and
            none of the chest. Defaults to None, parts of the chest in the words of many devices.
        keep (Sequence[str]): Images that become films of their own although another one of their
            exposure is taken, or although of what they are: keys of ``REASONS``. Defaults to none.
        names (str): 'neutral': the COCO file names links to the films, whose names tell nothing;
            'original': it names their paths, without those that hold the patient's name or date of
            birth, for folders that were de-identified before. Defaults to 'neutral'.
        links (str or PathLike, optional): Folder for the links. Defaults to ``STEM_images`` beside the
            COCO file STEM.json.
        map_file (str or PathLike, optional): CSV that says which file each neutral name stands for,
            readable by its user alone. Defaults to a file in ``originals/`` beside the key.
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
    keep: Sequence[str] = ()
    names: str = 'neutral'
    links: str | os.PathLike | None = None
    map_file: str | os.PathLike | None = None
    columns: Mapping[str, str] | None = None
    left_out_file: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.keep) - set(REASONS))
        if unknown:
            raise ValueError(f'keep {unknown} is none of {list(REASONS)}')
        if self.links is not None and self.names == 'original':
            raise ValueError("links are made for names='neutral' alone, not for names='original'")
        for name, valid in (
            ('patient_ids', PATIENT_IDS),
            ('unknown_views', UNKNOWN_VIEWS),
            ('names', NAMES),
        ):
            if getattr(self, name) not in valid:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {list(valid)}')


def _list_files(folder: str, links: Path | None = None) -> list[str]:
    """Files below a folder, sorted; folders behind links are entered once.

    Links of an earlier conversion to films of the folder are no further films.

    Args:
        folder (str): The folder.
        links (Path, optional): Folder of links to its films, which is left out. Defaults to None.

    Returns:
        list[str]: Paths below it, with slashes.
    """
    names: list[str] = []
    is_ours: dict[str, bool] = {}
    for path in files_below(folder):
        parent, file = os.path.split(path)
        if parent not in is_ours:
            is_ours[parent] = links is not None and lies_in(parent, links)
        is_link = _NEUTRAL.fullmatch(file) and os.path.islink(path) and lies_in(path, folder)
        if not is_ours[parent] and not is_link:
            names.append(os.path.relpath(path, folder).replace(os.sep, '/'))
    return sorted(names)


# what pseudonym() makes of a film
_NEUTRAL = re.compile(rf'[0-9a-f]{{{LENGTH}}}\.dcm')
_PACKED = ('.zip', '.tar', '.tgz', '.tar.gz', '.7z', '.rar')
_COPY = 'copy of another film'
_HASHED = 'patient ids that hold a name or date of birth, hashed'
_SAME_UID = 'films whose SOPInstanceUID another film has, other files (all are taken)'

_MAP_COLUMNS = ('file_name', 'original')

# How a list of files that are left out begins.
_LEFT_OUT = rb'file,reason,detail\n'

_KINDS = {
    REPORT: 'they are reports',
    BURNED_IN: 'annotation is burned into their pixels',
    DUAL_ENERGY: 'they are dual-energy or subtracted images',
    FOR_PROCESSING: 'they are for processing',
    SECONDARY: 'they are secondary captures',
}


class LeftOut(NamedTuple):
    """A file that is left out.

    Attributes:
        file (str): Neutral name; the map of originals has its path.
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
    ``patient_ids='original'``. Paths are not copied either: films are named by links that tell nothing,
    and a map for this user alone says which path each stands for. Laterals and obliques are left out
    (``options.views``), as are other parts of the body, films stored upside down or on their side by
    their PatientOrientation, files without pixels, with several frames, and damaged ones; of several
    images of one exposure one is taken, see :func:`left_out_of_exposures`.

    The table has a row a film, or a row a box, with ``label`` and one of ``path``,
    ``SOPInstanceUID``, ``SeriesInstanceUID``, ``StudyInstanceUID``, ``AccessionNumber``; boxes are
    ``x1, y1, x2, y2`` (px), of a copy of ``width`` and ``height`` (px) where it has these columns. Its
    ``patient_id`` counts where a header names nobody. Without a table, and where it does not name a
    film, the label is -1.

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
    run.write_map()
    summary.notes = [*run.places(), *summary.notes, *run.notes()]
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
        settings = replace(
            options, size='table', verify=False, missing='error', allow_outside=False
        )
        self.conversion = Conversion(root, out_file, settings, 'hospital', map(str.lower, FRONTAL))
        self.conversion.reads('the folder')
        self.is_neutral = more.names == 'neutral'
        self.links = Path(more.links or _default_links(out_file))
        self.names = _list_files(root, self.links if self.is_neutral else None)
        is_root = os.path.realpath(self.links) == os.path.realpath(root)
        if self.is_neutral and (is_root or (not self.names and _list_files(root))):
            raise ValueError(
                f"'{self.links}' holds the films themselves: name another folder for the links to them "
                '(--links)'
            )
        if not self.names:
            raise AnnotationError(f"no film is left of '{root}': there is no file in it")
        self.map_file = Path(more.map_file or self._default_map(out_file))
        _check_map(self.map_file)
        self._check_outputs(out_file)
        self.table: LabelTable | None = None
        self.left_out: list[LeftOut] = []
        self._first_of: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._ids: set[str] = set()
        # of patients of the table: what stands for them by the header of another of their films
        self._patient_of: dict[str, str] = {}

    def _check_outputs(self, out_file: str | os.PathLike) -> None:
        """No output takes the place of another one, nor the list that of anything but a list."""
        outputs: dict[str, str | os.PathLike] = {'COCO file': out_file, '--map': self.map_file}
        if self.more.left_out_file is not None:
            outputs['--left-out'] = self.more.left_out_file
            check_output(self.more.left_out_file, 'list of files that are left out', _LEFT_OUT)
        first: dict[str, str] = {}
        for name, path in outputs.items():
            other = first.setdefault(os.path.realpath(path), name)
            if other != name:
                raise ValueError(f"{name} '{path}' is the {other}, too: name another file")

    def _default_map(self, out_file: str | os.PathLike) -> Path:
        beside = Path(self.more.key_file or default_key_file()).parent / 'originals'
        out = os.path.abspath(out_file)
        return beside / f'{Path(out).stem}-{hashlib.sha256(os.fsencode(out)).hexdigest()[:8]}.csv'

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
            any_name=self.is_neutral,
        )
        headers = map_files(read, self.names, self.options.workers, crashed_header)
        hidden = not self.options.progress
        bar = tqdm(headers, 'headers', len(self.names), unit='file', disable=hidden)
        # all of them before the first film: an image is taken or not beside the others of its study
        wanted = [header for header in bar if self._is_wanted(header)]
        is_named = self.table.names_file if self.table else lambda _: False
        for header in wanted:
            patient = self.table.patient_of(header) if self.table else ''
            if patient and names_patient(header.patient):
                self._patient_of.setdefault(patient, self._patient_by_header(header))
        left = left_out_of_exposures(wanted, self.root, self.more.keep, is_named)
        is_any_left = False
        for header in wanted:
            if header.name in left:
                self._leave_out(header, REASONS[left[header.name]])
                continue
            if header.kind:
                self.conversion.noted[f'films taken although {_KINDS[header.kind]}'] += 1
            if not header.is_upright:
                self.conversion.noted['films taken although they are not stored upright'] += 1
            row = self._row(header)
            if row is not None:
                is_any_left = True
                yield row
        is_other = not is_any_left and not self.conversion.problems
        if is_other and set(self.conversion.left_out) <= {NO_DICOM, INDEX}:
            packed = sum(name.lower().endswith(_PACKED) for name in self.names)
            hint = 'for images of other kinds there is mmfrac convert plain-csv'
            if packed:
                hint = f'packed files, by their names: {packed}; unpack them'
            elif INDEX in self.conversion.left_out:
                hint = 'a DICOMDIR lists images that are not here: copy them, too'
            raise AnnotationError(
                f"no film is left of '{self.root}': none of its {len(self.names)} files is a DICOM "
                f'image; {hint}'
            )
        # without a film it is not the table that is at fault
        if self.table is not None and is_any_left:
            self.table.count_unused()
        self._check_links()

    def make_links(self) -> None:
        """Link to the films under their neutral names."""
        if self._links and not self.links.exists():
            # the targets of links are the paths that the names keep back
            self.links.mkdir(parents=True, mode=0o700)
        folder, root = os.fspath(self.links), os.path.abspath(self.root)
        for link, name in self._links.items():
            original = os.path.normpath(os.path.join(root, name))
            try:
                os.symlink(original, os.path.join(folder, link))
            except FileExistsError:  # of an earlier conversion
                with atomic_path(self.links / link) as temporary:
                    temporary.symlink_to(original)

    def _check_links(self) -> None:
        """Only links are replaced, and only by links."""
        taken = [link for link in self._links if _is_other_file(self.links / link)]
        if taken:
            raise ValueError(
                f"'{self.links}' holds {len(taken)} files under the names of links, which are not "
                'replaced: name another folder (--links)'
            )

    def write_map(self) -> None:
        """Write which path each neutral name stands for, for this user alone."""
        self.map_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(self.map_file) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(
                handle, 'w', encoding='utf-8', errors='surrogateescape', newline=''
            ) as file:
                table = csv.writer(file, lineterminator='\n')
                table.writerow(_MAP_COLUMNS)
                for name, original in self._originals.items():
                    path = os.path.abspath(os.path.join(self.root, original))
                    table.writerow((name, table_cell(path)))

    def _leave_out(self, header: DicomHeader, reason: str, detail: str = '') -> None:
        self.conversion.leave_out(reason)
        self.left_out.append(LeftOut(self._neutral_name(header), reason, detail))

    def _is_wanted(self, header: DicomHeader) -> bool:
        """Whether an image is a film taken by itself; if not, the reason is noted."""
        reason, detail = self._reason(header)
        if reason:
            self._leave_out(header, reason, detail)
        return not reason

    def _row(self, header: DicomHeader) -> ImageRow | None:
        """The film of a file, or None with the reason noted."""
        entry = self.table.find(header) if self.table else None
        label = -1 if entry is None else self.conversion.decide(entry.label)
        if label is None:
            self.left_out.append(LeftOut(self._neutral_name(header), 'label that is dropped'))
            return None
        if not header.view:
            self.conversion.noted['films whose header does not tell the view'] += 1
        if header.stored == MIRRORED:
            self.conversion.noted['films that are mirrored, by their PatientOrientation'] += 1
        if self.table and entry is None:
            self.conversion.noted['films that the table does not name (label -1)'] += 1
        extra = dict(view=header.view, laterality=header.laterality)
        if header.study:
            extra['study_id'] = self._stands_for('study', header.study)
        boxes = entry.raw_boxes() if entry else []
        return ImageRow(
            self.table.name if self.table else 'the folder',
            entry.line if entry else self._neutral_name(header),
            (self._file_name(header),),
            label,
            self._patient(header, entry),
            bool(boxes),
            boxes,
            header.size,
            extra={key: value for key, value in extra.items() if value},
            drawn_on=entry.size if entry else None,
        )

    def _reason(self, header: DicomHeader) -> tuple[str, str]:
        """Why a file is left out, in short and in full; '' if it is not."""
        more = self.more
        if header.fault:
            return header.fault, header.detail
        if header.modality and header.modality not in more.modalities:
            return f'modality {modality_name(header.modality)}', ''
        if header.body_part and not self._is_part(header.body_part):
            return f'body part {part_name(header.body_part)}', ''
        if header.other_part and not self._is_part(header.other_part):
            return f'body part {part_name(header.other_part)}', 'by its description'
        if not header.view and more.unknown_views == 'drop':
            return 'view not given', ''
        if header.view and not self.conversion.wants_view(header.view):
            return f'view {header.view}', ''
        if not header.is_upright and NOT_UPRIGHT not in more.keep:
            return REASONS[NOT_UPRIGHT], header.stored
        first = self._first_of.setdefault(header.instance or header.name, header.name)
        if first != header.name:
            if _same_bytes(os.path.join(self.root, first), os.path.join(self.root, header.name)):
                return _COPY, ''
            self.conversion.noted[_SAME_UID] += 1
        return '', ''

    def _is_part(self, part: str) -> bool:
        parts = self.more.body_parts
        if parts is None:
            return is_chest(part)
        return any(one.lower() == 'all' or one.upper() == part for one in parts)

    def _patient(self, header: DicomHeader, entry: Entry | None) -> str:
        named = entry.patient if entry else ''
        if names_patient(header.patient):
            self._ids.add(header.patient)
            if named and named != header.patient.strip():
                self.conversion.noted['films whose PatientID, not that of the table, counts'] += 1
            if header.id_tells_identity and self.more.patient_ids == 'original':
                self.conversion.changed[_HASHED] += 1
            return self._patient_by_header(header)
        if self.table and entry and named:
            self._ids.add(named)
            self.conversion.noted['films without PatientID (the patient of the table)'] += 1
            try:
                read_patient(named)
            except ValueError:
                text = (
                    'its header names no patient, and a spreadsheet has rounded the id of the table'
                )
                self.conversion.problems.add(self.table.name, entry.line, text)
            return self._patient_of.get(named) or self._stands_for('patient', named)
        self.conversion.noted['films without PatientID (a patient a study)'] += 1
        return self._stands_for('patient', f'study {header.study or header.name}')

    def _patient_by_header(self, header: DicomHeader) -> str:
        if header.id_tells_identity and self.more.patient_ids == 'original':
            return pseudonym(self._key, 'patient', header.patient)
        return self._stands_for('patient', header.patient)

    def _stands_for(self, kind: str, text: str) -> str:
        return text if self.more.patient_ids == 'original' else pseudonym(self._key, kind, text)

    def _file_name(self, header: DicomHeader) -> str:
        if not self.is_neutral:
            return header.name
        link = self._neutral_name(header)
        self._links[link] = header.name
        return link

    def _neutral_name(self, header: DicomHeader) -> str:
        name = pseudonym(self._key, 'film', f'{header.instance} {header.name}') + '.dcm'
        self._originals[name] = header.name
        return name

    def places(self) -> list[str]:
        """Where links and map are."""
        links = [f"the films are links in '{self.links}'"] if self._links else []
        return [*links, f"which file each name stands for: '{self.map_file}', keep it to yourself"]

    def notes(self) -> list[str]:
        """What there is to ask about the patients; no id is named."""
        return similar_patients_note(self._ids, named=False)


def _default_links(out_file: str | os.PathLike) -> Path:
    out = Path(os.path.abspath(out_file))
    return out.with_name(f'{out.stem}_images')


def _is_other_file(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_symlink()


def _check_map(path: Path) -> None:
    """Only a map is replaced by a map."""
    if not os.path.lexists(path):
        return
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            is_map = file.readline(200) == ','.join(_MAP_COLUMNS) + '\n'
    except OSError:
        is_map = False
    if not is_map:
        raise ValueError(
            f"'{path}' is no map of originals and is not replaced: name another file (--map)"
        )


def _same_bytes(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _write_left_out(path: str | os.PathLike, left_out: Sequence[LeftOut]) -> None:
    with atomic_open(path, errors='surrogateescape', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(LeftOut._fields)
        table.writerows([table_cell(value) for value in one] for one in left_out)
