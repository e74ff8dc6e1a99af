# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""ChestX-Det and ChestX-Det10: radiologists' boxes on NIH ChestX-ray14 films."""

import os
from collections.abc import Iterator
from typing import Any

from mmfrac.datasets.coco_checks import read_annotations
from mmfrac.datasets.labels import names_fracture
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion, flat_polygon
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.nih_cxr14 import NIH_NAME
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import ImageRow, RawBox
from mmfrac.utils.errors import AnnotationError

_FINDING = 'fracture'
_COLUMNS = dict(nih=('nih_name',), det=('det_name',))


def convert_chestx_det(
    annotation_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    manifest: str | os.PathLike | None = None,
    source: str | None = None,
    options: ConvertOptions | None = None,
) -> ConversionSummary:
    """Convert a ChestX-Det annotation file.

    All three forms are read: ChestX-Det10 (``file_name, syms, boxes``) with the release's file
    names or with NIH names, and ChestX-Det with ``polygons``. Every film has been read for all
    findings, so films without 'Fracture' become label 0, films with it label 1 with complete
    regions. The patient is the number before the underscore of the NIH name; where that is unknown
    a film has none, which may put one patient into two splits: give ``manifest``. Coordinates beyond the
    film by at most 1 px are clipped.

    Args:
        annotation_file (str or os.PathLike): ChestX-Det JSON, boxes xyxy (px).
        image_dir (str or os.PathLike): Folder with the films, under either name.
        out_file (str or os.PathLike): COCO JSON to write.
        manifest (str or os.PathLike, optional): CSV with columns ``nih_name`` and ``det_name``.
            Defaults to None.
        source (str, optional): ``source`` of the films. Defaults to None, that of ``options``, else
            'chestx_det'.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.

    Returns:
        ConversionSummary: Counts of what was written, left out and clipped.

    Raises:
        FileNotFoundError: If an input is missing.
        AnnotationError: With all problems of the input; nothing is written then.
    """
    annotation_file = os.fspath(annotation_file)
    conversion = Conversion(image_dir, out_file, options, 'chestx_det')
    conversion.source = source or conversion.source
    conversion.reads(annotation_file)
    records = _read_records(annotation_file)
    file = os.path.basename(annotation_file)
    aliases: dict[str, str] = {}
    if manifest is not None:
        table = conversion.table(manifest, _COLUMNS)
        conversion.check_headers()
        aliases = _read_names(table, conversion)
        found = {one.get('file_name') for one in records if isinstance(one, dict)}
        named = {name for name in found if isinstance(name, str)}
        both = {name for name in aliases if name in named or aliases[name] not in named}
        conversion.join((file, 'films'), (os.path.basename(manifest), 'names'), named, both)
    images = _image_rows(file, records, aliases, conversion)
    return conversion.write(images, len(records))


def _read_names(table: Table, conversion: Conversion) -> dict[str, str]:
    """File names of ChestX-Det and NIH, each to the other; a name that is there twice is a problem."""
    names: dict[str, str] = {}
    for line, (nih, det) in table.rows():
        if not nih or not det or nih in names or det in names:
            conversion.problems.add(table.name, line, f'empty or repeated name {nih!r}, {det!r}')
        names[nih], names[det] = det, nih
    return names


def _must_exist(path: str, what: str) -> None:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no {what} '{path}'")


def _read_records(annotation_file: str) -> list:
    _must_exist(annotation_file, 'annotation file')
    records = read_annotations(annotation_file)
    if not isinstance(records, list) or not records:
        raise AnnotationError(
            f'{annotation_file}: a ChestX-Det file is a list of records, this is '
            f'{"an empty list" if records == [] else type(records).__name__}'
        )
    return records


def _record_faults(record: Any) -> list[str]:
    if not isinstance(record, dict):
        return [f'must be an object, it is a {type(record).__name__}']
    faults = []
    if not isinstance(record.get('file_name'), str) or not record['file_name']:
        faults.append("'file_name' must be a string")
    for key in ('syms', 'boxes'):
        if not isinstance(record.get(key), list):
            faults.append(f"'{key}' must be a list")
    if faults:
        return faults
    if not all(isinstance(s, str) for s in record['syms']):
        faults.append("'syms' must be strings")
    else:
        odd = [s for s in record['syms'] if names_fracture(s) and s.lower() != _FINDING]
        faults += [f'{s!r} is a fracture, but not written {_FINDING.capitalize()!r}' for s in odd]
    for key in ('boxes', 'polygons'):
        items = record.get(key, record['boxes'])
        if not isinstance(items, list) or len(items) != len(record['syms']):
            count = len(items) if isinstance(items, list) else 'no'
            faults.append(f'{len(record["syms"])} syms but {count} {key}')
    return faults


def _patient(name: str, aliases: dict[str, str]) -> str | None:
    for known in (name, aliases.get(name, '')):
        match = NIH_NAME.match(known)
        if match:
            return match.group(1)
    return None


def _image_rows(
    file: str, records: list, aliases: dict[str, str], conversion: Conversion
) -> Iterator[ImageRow]:
    for index, record in enumerate(records):
        name = record.get('file_name') if isinstance(record, dict) else None
        location = f'records[{index}] ({name})'
        faults = _record_faults(record)
        for fault in faults:
            conversion.problems.add(file, location, fault)
        if faults:
            continue
        assert isinstance(name, str)
        boxes = _boxes(record)
        label = int(any(box.is_fracture for box in boxes))
        for finding in record['syms']:
            if finding.lower() != _FINDING:
                conversion.leave_out(f'{finding} boxes, another finding')
        names = tuple(one for one in (name, aliases.get(name)) if one)
        yield ImageRow(file, location, names, label, _patient(name, aliases), True, boxes)


def _boxes(record: dict) -> list[RawBox]:
    boxes = []
    polygons = record.get('polygons') or [None] * len(record['boxes'])
    for index, (finding, box, polygon) in enumerate(zip(record['syms'], record['boxes'], polygons)):
        # what is no polygon is passed on as an empty one, for the checks to find
        points = None if polygon is None else flat_polygon(polygon) or []
        is_fracture = finding.lower() == _FINDING
        location = f'boxes[{index}] ({finding})'
        boxes.append(RawBox(box, location, polygon=points, is_fracture=is_fracture))
    return boxes
