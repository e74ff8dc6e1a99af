# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""ChestX-Det and ChestX-Det10: radiologists' boxes on NIH ChestX-ray14 films."""

import csv
import os
import re
from collections import Counter
from typing import Any

from ..annotation_error import AnnotationError, raise_problems
from ..annotation_io import read_annotations
from ..transforms.radiograph_io import film_size
from .box_checks import box_fault, clip_points, flat_polygon, polygon_fault
from .coco_writer import ConversionSummary, FilmRecord, Lesion, write_films

FINDING = 'fracture'
_NIH_NAME = re.compile(r'(\d{8})_\d{3}')
_COLUMNS = ('nih_name', 'det_name')


def convert_chestx_det(
    annotation_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    manifest: str | os.PathLike | None = None,
    source: str = 'chestx_det',
) -> ConversionSummary:
    """Convert a ChestX-Det annotation file.

    All three forms are read: ChestX-Det10 (``file_name, syms, boxes``) with the release's file
    names or with NIH names, and ChestX-Det with ``polygons``. Every film has been read for all
    findings, so films without 'Fracture' become label 0, films with it label 1 with complete
    regions. The patient is the number before the underscore of the NIH name; where that is unknown
    every film is a patient of its own, which may put one patient into two splits: give
    ``manifest``. Coordinates beyond the film by at most 1 px are clipped.

    Args:
        annotation_file (str or os.PathLike): ChestX-Det JSON, boxes xyxy (px).
        image_dir (str or os.PathLike): Folder with the films, under either name.
        out_file (str or os.PathLike): COCO JSON to write.
        manifest (str or os.PathLike, optional): CSV with columns ``nih_name`` and ``det_name``.
            Default: None.
        source (str): ``source`` of the films. Default: 'chestx_det'.

    Returns:
        ConversionSummary: Counts of what was written, left out and clipped.

    Raises:
        FileNotFoundError: If an input is missing.
        AnnotationError: With all problems of the input; nothing is written then.
    """
    annotation_file, image_dir = os.fspath(annotation_file), os.fspath(image_dir)
    if not os.path.isdir(image_dir):
        raise FileNotFoundError(f"no image folder '{image_dir}'")
    records = _read_records(annotation_file)
    aliases = read_names(manifest) if manifest is not None else {}
    present = {entry.name for entry in os.scandir(image_dir)}
    films: list[FilmRecord] = []
    problems: list[str] = []
    others: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    places: dict[str, int] = {}
    for index, record in enumerate(records):
        faults = _record_faults(record)
        name = record.get('file_name') if isinstance(record, dict) else None
        if not faults:
            assert isinstance(name, str)
            file_name = _find_film(name, aliases, present)
            if file_name is None:
                faults = [_missing(name, image_dir, aliases)]
            elif file_name in places:
                faults = [f'the same film as records[{places[file_name]}]']
            else:
                places[file_name] = index
                faults = _convert(record, file_name, image_dir, aliases, source, films, changed)
                others.update(s for s in record['syms'] if s.lower() != FINDING)
        problems += [f'records[{index}] ({name}): {fault}' for fault in faults]
    raise_problems(annotation_file, problems)
    left_out = {f'{name} boxes, another finding': n for name, n in sorted(others.items())}
    return write_films(films, out_file, left_out, dict(changed))


def read_names(manifest: str | os.PathLike) -> dict[str, str]:
    """File names of ChestX-Det and NIH, each to the other.

    Args:
        manifest (str or os.PathLike): CSV with columns ``nih_name`` and ``det_name``.

    Returns:
        dict[str, str]: Both directions.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: If a column is missing or a name occurs twice.
    """
    manifest = os.fspath(manifest)
    _must_exist(manifest, 'file-name map')
    names: dict[str, str] = {}
    problems = []
    with open(manifest, encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file)
        absent = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
        if absent:
            raise AnnotationError(
                f'{manifest}: no column {absent}, a file-name map has {list(_COLUMNS)}; found '
                f'{reader.fieldnames}'
            )
        for row in reader:
            nih, det = ((row[c] or '').strip() for c in _COLUMNS)
            if not nih or not det or nih in names or det in names:
                problems.append(f'line {reader.line_num}: empty or repeated name {nih!r}, {det!r}')
            names[nih], names[det] = det, nih
    raise_problems(manifest, problems)
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
    for key in ('boxes', 'polygons'):
        items = record.get(key, record['boxes'])
        if not isinstance(items, list) or len(items) != len(record['syms']):
            count = len(items) if isinstance(items, list) else 'no'
            faults.append(f'{len(record["syms"])} syms but {count} {key}')
    return faults


def _find_film(name: str, aliases: dict[str, str], present: set[str]) -> str | None:
    return next((n for n in (name, aliases.get(name)) if n in present), None)


def _missing(name: str, image_dir: str, aliases: dict[str, str]) -> str:
    other = aliases.get(name)
    if other:
        return f'neither {name} nor {other} is in {image_dir}'
    return f'missing file {os.path.join(image_dir, name)} (NIH names need the file-name map)'


def _patient(name: str, aliases: dict[str, str]) -> str:
    for known in (name, aliases.get(name, '')):
        match = _NIH_NAME.match(known)
        if match:
            return match.group(1)
    return os.path.splitext(name)[0]


def _convert(
    record: dict,
    file_name: str,
    image_dir: str,
    aliases: dict[str, str],
    source: str,
    films: list[FilmRecord],
    changed: Counter[str],
) -> list[str]:
    """Append the record's film to ``films``; returns what is wrong with it."""
    try:
        width, height = film_size(os.path.join(image_dir, file_name))
    except ValueError as error:
        return [str(error)]
    lesions, faults = [], []
    polygons = record.get('polygons') or [None] * len(record['boxes'])
    for place, (finding, box, polygon) in enumerate(zip(record['syms'], record['boxes'], polygons)):
        points = flat_polygon(polygon) if polygon is not None else None
        limits = (width, height)
        fault = box_fault(box, limits) or (
            None if polygon is None else polygon_fault(points, limits)
        )
        if fault:
            faults.append(f'boxes[{place}] ({finding}): {fault}')
        elif finding.lower() == FINDING:
            clipped = clip_points(box, limits)
            changed.update({'boxes clipped to their film': 1} if clipped != box else {})
            x1, y1, x2, y2 = clipped
            outline = None if points is None else clip_points(points, limits)
            lesions.append(Lesion((x1, y1, x2, y2), outline))
    label = int(bool(lesions))
    patient = _patient(record['file_name'], aliases)
    films.append(FilmRecord(file_name, width, height, label, True, source, patient, lesions))
    return faults
