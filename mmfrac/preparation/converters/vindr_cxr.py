# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""VinDr-CXR: boxes of three readers, a row a box."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.film_finder import with_suffixes
from mmfrac.preparation.converters.film_record import ConversionSummary
from mmfrac.preparation.converters.options import ConvertOptions, Size
from mmfrac.preparation.converters.reader_merge import merge_boxes, readers_needed
from mmfrac.preparation.tables.film_row import FilmRow, RawBox
from mmfrac.preparation.tables.table import Columns, Table
from mmfrac.preparation.tables.values import BLANKS, read_length, read_number

SITES = {'rib fracture': 'rib', 'clavicle fracture': 'clavicle'}

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
        options (ConvertOptions, optional): Choices. Default: ``ConvertOptions()``.
        merge (str): Readers that must agree: 'any', 'majority' or 'all'. Default: 'majority'.
        iou (float): Overlap from which two boxes are one lesion. Default: 0.4.
        fuse (str): 'mean' or 'union' of a lesion's boxes. Default: 'mean'.
        sizes (str or os.PathLike, optional): Table with ``image_id`` and the size of the original film
            (``dim0``, ``dim1`` of train_meta.csv, or ``height``, ``width``), in which boxes are
            drawn: needed where the films were resized. Default: None.

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
        size_rows = conversion.table(sizes, {'image': ('image_id',), **_SIZE})
    conversion.check_headers()
    readings, has_fractures = _read(rows, conversion)
    if size_rows is not None:
        _read_sizes(size_rows, readings, conversion)
    films = _films(rows.name, readings, has_fractures, merge, iou, fuse, conversion)
    return conversion.write(films, len(readings), unique_names=True)


def _read(table: Table, conversion: Conversion) -> tuple[dict[str, _Reading], bool]:
    """Readings by film, in the order of the table, and whether it has a fracture class."""
    readings: dict[str, _Reading] = {}
    has_fractures = False
    for line, (image, name, *corners, reader, width, height) in table.rows():
        finding = name.lower()
        try:
            if not image or not name:
                raise ValueError('no image_id' if not image else 'no class_name')
            box = _box(corners, table.decimal_comma)
            size = (read_length(width), read_length(height)) if width and height else None
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        reading = readings.setdefault(image, _Reading(line))
        reading.readers.add(reader)
        reading.size = reading.size or size
        reading.has_other_lesion = reading.has_other_lesion or finding == _OTHER
        if finding in SITES:
            has_fractures = True
            mark = (reader, SITES[finding], box)
            if reading.marks.setdefault(mark, line) != line:
                conversion.leave_out(REPEATED)
        elif finding != _NO_FINDING:
            conversion.leave_out(f'{name} boxes, another finding')
    return readings, has_fractures


def _box(corners: list[str], decimal_comma: bool) -> tuple[float, ...] | None:
    """(x1, y1, x2, y2), px; None for a finding without a box."""
    if all(text.lower() in BLANKS for text in corners):
        return None
    x1, y1, x2, y2 = (read_number(text, decimal_comma) for text in corners)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f'box {(x1, y1, x2, y2)} (x1, y1, x2, y2) has no positive size')
    return x1, y1, x2, y2


def _read_sizes(table: Table, readings: dict[str, _Reading], conversion: Conversion) -> None:
    for line, (image, width, height) in table.rows():
        if image in readings:
            try:
                readings[image].size = (read_length(width), read_length(height))
            except ValueError as error:
                conversion.problems.add(table.name, line, str(error))


def _films(
    table: str,
    readings: dict[str, _Reading],
    has_fractures: bool,
    merge: str,
    iou: float,
    fuse: str,
    conversion: Conversion,
) -> Iterator[FilmRow]:
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
        yield FilmRow(
            table, reading.line, names, label, image, bool(boxes), boxes, size=reading.size
        )


def _merged(reading: _Reading, needed: int, iou: float, fuse: str) -> list[RawBox]:
    merged = []
    for site in SITES.values():
        marks = [
            (reader, box) for reader, of, box in reading.marks if of == site and box is not None
        ]
        lines = [line for (_, of, box), line in reading.marks.items() if of == site and box]
        boxes = merge_boxes(
            [box for _, box in marks], [reader for reader, _ in marks], needed, iou, fuse
        )
        merged += [RawBox(box, min(lines), site) for box in boxes]
    return merged
