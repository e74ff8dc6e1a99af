# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films as COCO: records, counts, and the annotation file that all converters write."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmfrac.datasets.coco_checks import bbox_fault, image_faults, image_name, label_fault
from mmfrac.datasets.labels import (
    SUBSETS,
    absent_patients_note,
    similar_patients_note,
    subset_of,
)
from mmfrac.utils.errors import raise_problems
from mmfrac.utils.io import atomic_open, check_output, plain_path
from mmfrac.utils.text import printable

# Columns of a table that nobody reads and that are named.
_COLUMNS = 30

_CATEGORY = dict(id=1, name='fracture')


@dataclass
class Lesion:
    """One fracture.

    Attributes:
        box (tuple): (x1, y1, x2, y2), px of the film.
        polygon (list[float], optional): [x1, y1, x2, y2, ...], px of the film.
        site (str, optional): 'rib', 'clavicle', ...
        is_ignored (bool): It is no lesion, but a place that counts in no loss and no metric. Defaults to
            False.
    """

    box: tuple[float, float, float, float]
    polygon: list[float] | None = None
    site: str | None = None
    is_ignored: bool = False


@dataclass
class CocoImage:
    """One film of the output.

    Attributes:
        file_name (str): Path below the image folder.
        width, height (int): Size, px.
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether ``lesions`` is complete.
        source (str): Data set or hospital.
        patient_id (str, optional): Splits keep a patient's films together; None where it is not known.
        lesions (list[Lesion]): Defaults to none.
        extra (dict[str, str]): More fields of its image, e.g. ``view``. Defaults to none.
    """

    file_name: str
    width: int
    height: int
    label: int
    regions: bool
    source: str
    patient_id: str | None
    lesions: list[Lesion] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)


@dataclass
class ConversionSummary:
    """Counts of one conversion; ``str()`` is a table.

    Attributes:
        out_file (str): What was written.
        films, boxes, polygons, patients (int): In the output; boxes that are ignored do not count, and
            a film without a patient is one.
        subsets (dict[str, int]): Films in each of 'P_hos', 'N', 'P_pub', 'U'.
        left_out (dict[str, int]): What of the input is not in the output, and why.
        changed (dict[str, int]): What was altered on the way, e.g. boxes clipped.
        noted (dict[str, int]): What else there is to know, e.g. films of an unknown view.
        unread (dict[str, tuple[str, ...]]): Columns of each table that nobody reads.
        notes (list[str]): What there is to ask, e.g. about patients that may be one.
    """

    out_file: str
    films: int
    boxes: int
    polygons: int
    patients: int
    subsets: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    unread: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def positives(self) -> int:
        """Films with label 1."""
        return self.subsets['P_hos'] + self.subsets['P_pub']

    def __str__(self) -> str:
        rows = [
            ('films', self.films),
            ('positives', self.positives),
            ('  with fracture and boxes (P_hos)', self.subsets['P_hos']),
            ('  with fracture, label only (P_pub)', self.subsets['P_pub']),
            ('  without fracture (N)', self.subsets['N']),
            ('  unknown (U)', self.subsets['U']),
            ('patients', self.patients),
            ('fracture boxes', self.boxes),
            ('  of them with polygon', self.polygons),
            *((f'left out: {reason}', count) for reason, count in self.left_out.items()),
            *((f'changed: {reason}', count) for reason, count in self.changed.items()),
            *((f'noted: {reason}', count) for reason, count in self.noted.items()),
        ]
        wide = max(len(name) for name, _ in rows)
        table = [f'{name:<{wide}} {count:>8}' for name, count in rows]
        unread = [
            f'not read: {table}: columns {", ".join(names[:_COLUMNS])}'
            + (f' and {len(names) - _COLUMNS} more' if len(names) > _COLUMNS else '')
            for table, names in self.unread.items()
        ]
        notes = [f'note: {note}' for note in self.notes]
        return printable('\n'.join([f'wrote {self.out_file}', *table, *unread, *notes]))


def _coco_records(record: CocoImage, image_id: int, first_id: int) -> tuple[dict, list[dict]]:
    """A film as a COCO image and its annotations.

    Args:
        record (CocoImage): The film.
        image_id (int): Its id.
        first_id (int): Id of its first annotation; the others count on.

    Returns:
        tuple[dict, list[dict]]: Image and annotations.
    """
    image = dict(
        id=image_id,
        file_name=record.file_name,
        width=record.width,
        height=record.height,
        label=record.label,
        regions=record.regions,
        source=record.source,
    )
    if record.patient_id is not None:
        image['patient_id'] = record.patient_id
    image |= record.extra
    annotations = []
    for annotation_id, lesion in enumerate(record.lesions, first_id):
        x1, y1, x2, y2 = lesion.box
        annotation = dict(
            id=annotation_id,
            image_id=image_id,
            category_id=_CATEGORY['id'],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
            iscrowd=int(lesion.is_ignored),
        )
        if lesion.polygon is not None:
            annotation['segmentation'] = [lesion.polygon]
        if lesion.site is not None:
            annotation['site'] = lesion.site
        annotations.append(annotation)
    return image, annotations


__all__ = ['CocoImage', 'CocoWriter', 'ConversionSummary', 'Lesion', 'write_coco']

# How the files begin and end that a writer has written.
_HEAD = (
    rb'\{"images": \[(?:\{"id": 1, "file_name": "(?:[^"\\]|\\.)*", "width": \d+, "height": \d+, '
    rb'"label": -?\d, "regions": (?:true|false), "source": "|\], "annotations": \[)'
)
_TAIL = rb'\], "categories": \[\{"id": 1, "name": "fracture"\}\]\}'

# Annotations wait in memory up to this many bytes, then in a temporary file.
_IN_MEMORY = 16 * 2**20


class _NotFinished(Exception):
    """Ends the writing of a file that gets no name."""


class CocoWriter:
    """Writes films one by one as the COCO JSON that ``CXRDataset`` and any mmdet detector read.

    A context manager. Films are checked as the loader would, and written to a temporary file that
    takes its name in :meth:`finish`; without it, nothing is left behind. Memory grows by the names of
    films and patients only.

    Args:
        out_file (str or os.PathLike): JSON to write; its folder is made.
        allow_outside (bool): Take names that lead out of the image folder. Defaults to False.
        inputs (Iterable[str or os.PathLike]): Files that are read. Defaults to none.

    Raises:
        ValueError: If ``out_file`` is a folder, lies below a file, or is an input or any other file that
            no writer has written.

    Examples:
        >>> with CocoWriter('train.json') as writer:
        ...     faults = writer.add(CocoImage('a.png', 512, 512, 0, True, 'here', 'p1'))
        ...     summary = writer.finish()
    """

    def __init__(
        self,
        out_file: str | os.PathLike,
        allow_outside: bool = False,
        inputs: Iterable[str | os.PathLike] = (),
    ) -> None:
        self._allow_outside = allow_outside
        self.out_file = os.fspath(out_file)
        folder = os.path.dirname(self.out_file) or '.'
        while not os.path.exists(folder):
            folder = os.path.dirname(folder) or '.'
        if os.path.isdir(self.out_file):
            raise ValueError(f"cannot write '{self.out_file}': it is a folder, name a JSON file")
        if not os.path.isdir(folder):
            raise ValueError(f"cannot write '{self.out_file}': '{folder}' is not a folder")
        check_output(self.out_file, 'COCO file of a converter', _HEAD, *inputs, tail=_TAIL)
        self._indices: dict[str, int] = {}
        self._patients: set[str] = set()
        self._groups: Counter[str] = Counter()
        self._annotated = self._boxes = self._polygons = self._unnamed = 0
        self._faulty = self._is_finished = False

    def __enter__(self) -> 'CocoWriter':
        self._opened = atomic_open(self.out_file)
        self._images = self._opened.__enter__()
        self._annotations = tempfile.SpooledTemporaryFile(_IN_MEMORY, 'w+', encoding='utf-8')
        self._images.write('{"images": [')
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._annotations.close()
        if not self._is_finished:
            self._opened.__exit__(_NotFinished, _NotFinished(), None)

    def __len__(self) -> int:
        return sum(self._groups.values())

    def add(self, record: CocoImage) -> list[str]:
        """Check and write one film; ids count from 1.

        Args:
            record (CocoImage): The film.

        Returns:
            list[str]: What is wrong with it; if anything is, the file cannot be finished.
        """
        index = len(self)
        image, annotations = _coco_records(record, index + 1, self._annotated + 1)
        faults = image_faults(image, self._allow_outside)
        if not faults:
            boxes = (bbox_fault(a['bbox'], record.width, record.height) for a in annotations)
            faults = [fault for fault in boxes if fault]
            first = self._indices.setdefault(plain_path(record.file_name), index)
            if first != index:
                faults.append(f'duplicate file_name, also images[{first}]')
            ignored = sum(lesion.is_ignored for lesion in record.lesions)
            contradiction = label_fault(
                record.label, record.regions, len(annotations) - ignored, ignored
            )
            faults += [contradiction] if contradiction else []
        self._groups[subset_of(record.label, record.regions)] += 1
        self._faulty = self._faulty or bool(faults)
        if self._faulty:
            return faults
        self._images.write((', ' if index else '') + json.dumps(image))
        for annotation in annotations:
            self._annotations.write((', ' if self._annotated else '') + json.dumps(annotation))
            self._annotated += 1
            if not annotation['iscrowd']:
                self._boxes += 1
                self._polygons += 'segmentation' in annotation
        if record.patient_id is None:
            self._unnamed += 1
        else:
            self._patients.add(record.patient_id)
        return []

    def finish(
        self,
        left_out: dict[str, int] | None = None,
        changed: dict[str, int] | None = None,
        noted: dict[str, int] | None = None,
        unread: dict[str, tuple[str, ...]] | None = None,
        notes: Iterable[str] = (),
    ) -> ConversionSummary:
        """Give the file its name.

        Args:
            left_out (dict[str, int], optional): For the summary. Defaults to None.
            changed (dict[str, int], optional): For the summary. Defaults to None.
            noted (dict[str, int], optional): For the summary. Defaults to None.
            unread (dict[str, tuple[str, ...]], optional): For the summary. Defaults to None.
            notes (Iterable[str]): For the summary. Defaults to none.

        Returns:
            ConversionSummary: The counts.

        Raises:
            ValueError: If a film had a fault.
        """
        if self._faulty:
            raise ValueError(f'{self.out_file} is not written: a film of it has a fault')
        self._images.write('], "annotations": [')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._images)
        self._images.write('], "categories": ' + json.dumps([_CATEGORY]) + '}')
        self._is_finished = True
        self._opened.__exit__(None, None, None)
        return ConversionSummary(
            out_file=self.out_file,
            films=len(self),
            boxes=self._boxes,
            polygons=self._polygons,
            patients=len(self._patients) + self._unnamed,
            subsets={name: self._groups[name] for name in SUBSETS},
            left_out=dict(left_out or {}),
            changed=dict(changed or {}),
            noted=self._ignored_noted(noted or {}),
            unread=dict(unread or {}),
            notes=[
                *notes,
                *absent_patients_note(self._unnamed, len(self)),
                *similar_patients_note(self._patients),
            ],
        )

    def _ignored_noted(self, noted: dict[str, int]) -> dict[str, int]:
        ignored = self._annotated - self._boxes
        return {**noted, 'boxes that are ignored, no lesions': ignored} if ignored else dict(noted)


def write_coco(
    records: Iterable[CocoImage],
    out_file: str | os.PathLike,
    left_out: dict[str, int] | None = None,
    changed: dict[str, int] | None = None,
) -> ConversionSummary:
    """Write films in one go, see :class:`CocoWriter`.

    Args:
        records (Iterable[CocoImage]): In the order of the output; ids count from 1.
        out_file (str or os.PathLike): JSON to write; its folder is made.
        left_out (dict[str, int], optional): For the summary. Defaults to None.
        changed (dict[str, int], optional): For the summary. Defaults to None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        AnnotationError: If the loader would refuse the file; nothing is written.
    """
    problems = []
    with CocoWriter(out_file) as writer:
        for index, record in enumerate(records):
            name = image_name(index, dict(id=index + 1, file_name=record.file_name))
            problems += [f'{name}: {fault}' for fault in writer.add(record)]
        raise_problems(os.fspath(out_file), problems)
        return writer.finish(left_out, changed)
