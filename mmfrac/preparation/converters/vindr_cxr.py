# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""VinDr-CXR and VinBigData: boxes of several readers of one film become one reading."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmfrac.datasets.labels import names_fracture
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.file_finder import with_suffixes
from mmfrac.preparation.tables.table import Columns, Table
from mmfrac.preparation.tables.values import (
    BLANKS,
    ImageRow,
    RawBox,
    Size,
    read_length,
)

MERGE = ('any', 'majority', 'all')

FUSE = ('mean', 'union')


def readers_needed(merge: str, readers: int) -> int:
    """How many of the film's readers must agree.

    Args:
        merge (str): 'any', 'majority' (more than half) or 'all'.
        readers (int): Readers of the film.

    Raises:
        ValueError: If ``merge`` is none of these.
    """
    if merge not in MERGE:
        raise ValueError(f'merge {merge!r} is none of {list(MERGE)}')
    return {'any': 1, 'majority': readers // 2 + 1, 'all': readers}[merge]


def merge_boxes(
    boxes: Sequence[Sequence[float]],
    readers: Sequence[str],
    needed: int,
    iou: float = 0.4,
    fuse: str = 'mean',
) -> list[list[float]]:
    """One box for each lesion that enough readers marked.

    Boxes that overlap by at least ``iou`` are one lesion, and so are those linked through others; the
    order of the boxes does not matter.

    Args:
        boxes (Sequence[Sequence[float]]): (n, 4) xyxy, px.
        readers (Sequence[str]): (n) who drew each.
        needed (int): Readers that must have marked a lesion.
        iou (float): Intersection over union from which boxes are one lesion. Defaults to 0.4.
        fuse (str): 'mean' of the corners, or 'union', the rectangle around all. Defaults to 'mean'.

    Returns:
        list[list[float]]: (m, 4) xyxy, px, sorted.

    Raises:
        ValueError: If ``fuse`` is none of these, or ``iou`` not in (0, 1].
    """
    if fuse not in FUSE or not 0 < iou <= 1:
        raise ValueError(f'fuse is one of {list(FUSE)} and iou in (0, 1], got {fuse!r}, {iou}')
    if not len(boxes):
        return []
    array = np.asarray(boxes, np.float64)
    low = np.maximum(array[:, None, :2], array[None, :, :2])
    high = np.minimum(array[:, None, 2:], array[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(array[:, 2:] - array[:, :2], axis=1)
    overlaps = shared / (areas[:, None] + areas[None] - shared) >= iou
    count, lesions = connected_components(coo_array(overlaps), directed=False)
    names = np.asarray(readers)
    fused = []
    for lesion in range(count):
        mine = array[lesions == lesion]
        if len(set(names[lesions == lesion])) < needed:
            continue
        if fuse == 'mean':
            # not by the order of the boxes: sums of floats depend on it
            box = np.sort(mine, axis=0).mean(axis=0)
        else:
            box = np.concatenate([mine[:, :2].min(axis=0), mine[:, 2:].max(axis=0)])
        fused.append([round(float(value), 2) for value in box])
    return sorted(fused)


_SITES = {'rib fracture': 'rib', 'clavicle fracture': 'clavicle'}

_NO_FINDING = 'no finding'

# The challenge's table has no fracture class; fractures are among these.
_OTHER = 'other lesion'

_SIZE: Columns = dict(width=('width', 'dim1'), height=('height', 'dim0'))


@dataclass(slots=True)
class _Reading:
    """What the readers saw on a film; a mark is (reader, site, box or None)."""

    line: int
    readers: set[str] = field(default_factory=set)
    marks: dict[tuple, int] = field(default_factory=dict)
    has_other_lesion: bool = False
    size: Size | None = None


def convert_vindr_cxr(
    table: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    merge: str = 'majority',
    iou: float = 0.4,
    fuse: str = 'mean',
    sizes: str | os.PathLike | None = None,
) -> ConversionSummary:
    """Convert the box table of VinDr-CXR (Nguyen et al. 2022).

    'Rib fracture' and 'Clavicle fracture' count. Label 1: as many readers marked one as ``merge`` asks
    for; 0: none did; uncertain: fewer did. Regions are complete where a lesion was marked by so many
    readers. The test table, a consensus without ``rad_id``, counts as one reader. The challenge's
    table (train.csv of VinBigData) has no fracture class: there films with 'Other lesion' have no
    label (``options.blank``) and the others label 0. The set names no patients: every film is one.

    Args:
        table (str or os.PathLike): annotations_train.csv, annotations_test.csv or train.csv.
        image_dir (str or os.PathLike): Folder with the films, IMAGE_ID.dicom, .png, ...
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        merge (str): Readers that must agree: 'any', 'majority' or 'all'. Defaults to 'majority'.
        iou (float): Overlap from which two boxes are one lesion. Defaults to 0.4.
        fuse (str): 'mean' or 'union' of a lesion's boxes. Defaults to 'mean'.
        sizes (str or os.PathLike, optional): Table with ``image_id`` and the size of the original film
            (``dim0``, ``dim1`` of train_meta.csv, or ``height``, ``width``), in which boxes are
            drawn: needed where the films were resized. Defaults to None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If a choice does not exist.
        AnnotationError: With all problems of the tables; nothing is written then.
    """
    readers_needed(merge, 3)
    merge_boxes([], [], 1, iou, fuse)
    conversion = Conversion(image_dir, out_file, options, 'vindr_cxr')
    box = dict(x1=('x_min',), y1=('y_min',), x2=('x_max',), y2=('y_max',))
    rows = conversion.table(
        table,
        dict(image=('image_id',), name=('class_name',), **box),
        {'reader': ('rad_id',), **_SIZE},
    )
    size_rows = None
    if sizes is not None:
        # resized copies of the challenge are often squeezed into one shape
        conversion.allow_stretched = True
        size_rows = conversion.table(sizes, {'image': ('image_id',), **_SIZE})
    conversion.check_headers()
    readings, has_fractures = _read(rows, conversion)
    if size_rows is not None:
        _read_sizes(size_rows, rows.name, readings, conversion)
    image_rows = _image_rows(rows.name, readings, has_fractures, merge, iou, fuse, conversion)
    return conversion.write(image_rows, len(readings), unique_names=True)


def _read(table: Table, conversion: Conversion) -> tuple[dict[str, _Reading], bool]:
    """Readings by film, in the order of the table, and whether it has a fracture class."""
    readings: dict[str, _Reading] = {}
    has_fractures = False
    for line, (image, name, *corners, reader, width, height) in table.rows():
        finding = ' '.join(re.split(r'[\s_-]+', name.lower()))
        try:
            if not image or not name:
                raise ValueError('no image_id' if not image else 'no class_name')
            if not any(map(str.isalpha, name)):
                raise ValueError(f'class_name {name!r} is no name; is it a class_id?')
            if names_fracture(finding) and finding not in _SITES:
                raise ValueError(f'class {name!r} is a fracture, but none of {list(_SITES)}')
            box = _box(corners, table)
            size = (read_length(width), read_length(height)) if width and height else None
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        reading = readings.setdefault(image, _Reading(line))
        reading.readers.add(reader)
        reading.size = reading.size or size
        if size is not None and size != reading.size:
            text = f'width and height {size}, but {reading.size} for the same image above'
            conversion.problems.add(table.name, line, text)
        reading.has_other_lesion = reading.has_other_lesion or finding == _OTHER
        if finding in _SITES:
            has_fractures = True
            mark = (reader, _SITES[finding], box)
            if reading.marks.setdefault(mark, line) != line:
                conversion.leave_out(REPEATED)
        elif finding != _NO_FINDING:
            conversion.leave_out(f'{name} boxes, another finding')
    return readings, has_fractures


def _box(corners: list[str], table: Table) -> tuple[float, ...] | None:
    """(x1, y1, x2, y2), px; None for a finding without a box."""
    if all(text.lower() in BLANKS for text in corners):
        return None
    x1, y1, x2, y2 = map(table.number, corners)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f'box {(x1, y1, x2, y2)} (x1, y1, x2, y2) has no positive size')
    return x1, y1, x2, y2


def _read_sizes(
    table: Table, labels: str, readings: dict[str, _Reading], conversion: Conversion
) -> None:
    sized: dict[str, Size | None] = {}
    for line, (image, width, height) in table.rows():
        if image not in readings:
            sized[image] = None
        else:
            try:
                size = (read_length(width), read_length(height))
                if sized.setdefault(image, size) != size:
                    raise ValueError(f'size {size}, but {sized[image]} for the same image above')
                readings[image].size = size
            except ValueError as error:
                conversion.problems.add(table.name, line, str(error))
    conversion.join((labels, 'images'), (table.name, 'images'), set(readings), sized.keys())


def _image_rows(
    table: str,
    readings: dict[str, _Reading],
    has_fractures: bool,
    merge: str,
    iou: float,
    fuse: str,
    conversion: Conversion,
) -> Iterator[ImageRow]:
    for image, reading in readings.items():
        needed = readers_needed(merge, len(reading.readers))
        votes = len({reader for reader, _, _ in reading.marks})
        label: int | None = 0 if votes == 0 else 1 if votes >= needed else -1
        if not has_fractures and reading.has_other_lesion:
            label = None
            conversion.changed["'Other lesion' of a table without fractures: no label"] += 1
        label = conversion.decide(label)
        if label is None:
            continue
        boxes = []
        if votes >= needed:
            boxes = _merged(reading, needed, iou, fuse)
            merged = sum(box is not None for _, _, box in reading.marks) - len(boxes)
            if merged > 0:
                conversion.changed['boxes of several readers merged, or of too few left out'] += (
                    merged
                )
        names = with_suffixes(image, '.dicom', conversion.options.suffix)
        yield ImageRow(
            table, reading.line, names, label, None, bool(boxes), boxes, size=reading.size
        )


def _merged(reading: _Reading, needed: int, iou: float, fuse: str) -> list[RawBox]:
    merged = []
    for site in _SITES.values():
        marks = [
            (reader, box) for reader, of, box in reading.marks if of == site and box is not None
        ]
        lines = [line for (_, of, box), line in reading.marks.items() if of == site and box]
        boxes = merge_boxes(
            [box for _, box in marks], [reader for reader, _ in marks], needed, iou, fuse
        )
        merged += [RawBox(box, min(lines), site) for box in boxes]
    return merged
