# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The splits of a data set, read in spite of what is wrong with them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmfrac.datasets.coco_checks import find_problems, read_annotations
from mmfrac.datasets.labels import (
    counted_annotations,
    counted_classes,
    film_labels,
    is_ignored,
)
from mmfrac.preparation.checks.finding import Finding
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import leads_outside

# px; no film is as large, and JSON integers may be larger than a float can be
_BEYOND = 10**6
_SPLIT_NAMES = ('train', 'val', 'test')


@dataclass(slots=True)
class ImageEntry:
    """A film as an annotation file lists it; what is wrong with it is None.

    Attributes:
        split (str): Name of the split.
        name (str): ``file_name``.
        path (str): Its file.
        size (tuple[int, int], optional): Width and height, px.
        label (int, optional): 1 fracture, 0 none, -1 unknown.
        patient (str, optional): ``patient_id``.
        boxes (list): Lesions [x, y, w, h], px.
        ignored (list): Boxes that are ignored, and those of fractures of another category, alike.
    """

    split: str
    name: str
    path: str
    size: tuple[int, int] | None = None
    label: int | None = None
    patient: str | None = None
    boxes: list = field(default_factory=list)
    ignored: list = field(default_factory=list)


@dataclass
class Split:
    """Films of one annotation file.

    Attributes:
        name (str): Stem of the file.
        entries (list[ImageEntry]): Those that name a file.
        findings (list[Finding]): What the file alone shows to be wrong.
    """

    name: str
    entries: list[ImageEntry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def find_splits(data_root: str, ann_files: Sequence[str] | None) -> tuple[list[str], list[Finding]]:
    """Annotation files of a data set.

    Args:
        data_root (str): Folder of ``annotations/``.
        ann_files (Sequence[str], optional): Files, below ``data_root`` or anywhere. None: those of
            train.json, val.json and test.json in ``annotations/`` that are there.

    Returns:
        tuple[list[str], list[Finding]]: Files to read, and what is missing.
    """
    if not os.path.isdir(data_root):
        return [], [Finding('root', f'no data root {data_root}')]
    if ann_files:
        below = [os.path.join(data_root, file) for file in ann_files]
        return [a if os.path.exists(a) else b for a, b in zip(below, ann_files)], []
    folder = Path(data_root) / 'annotations'
    found = [str(folder / f'{name}.json') for name in _SPLIT_NAMES]
    found = [file for file in found if os.path.exists(file)]
    if found:
        return found, []
    others = sorted(path.name for path in folder.glob('*.json')) if folder.is_dir() else []
    message = f'none of train.json, val.json and test.json in {folder}'
    if others:
        message += f'; there are {", ".join(others[:5])}: name the files of the splits'
    return [], [Finding('root', message)]


def read_split(
    name: str,
    ann_file: str,
    image_folder: str,
    allow_outside: bool = False,
    category: str | Sequence[str] | None = None,
) -> Split:
    """Read one annotation file.

    Args:
        name (str): Of the split.
        ann_file (str): COCO JSON with mmfrac's fields.
        image_folder (str): Where its file names start.
        allow_outside (bool): Whether names may lead out of that folder; those that may not are no
            entries, so that nothing opens them. Defaults to False.
        category (str or Sequence[str], optional): Categories whose boxes are lesions, see
            ``counted_classes``. Defaults to None.

    Returns:
        Split: Never raises: what goes wrong is a finding.
    """
    split = Split(name)
    try:
        data = read_annotations(ann_file)
    except (AnnotationError, OSError) as error:
        split.findings.append(Finding('file', f'{ann_file}: {_reason(error)}', name))
        return split
    images = _records(data, 'images')
    names = {
        one['id']: one['name']
        for one in _records(data, 'categories')
        if type(one.get('id')) is int and isinstance(one.get('name'), str)
    }
    classes = counted_classes(names.values(), category)
    for problem in find_problems(data, classes, allow_outside):
        image = images[problem.image_index] if problem.image_index is not None else {}
        split.findings.append(
            Finding(problem.kind, f'{name}: {problem}', name, _text(image, 'file_name') or '')
        )
    boxes: dict[Any, list] = {}
    ignored: dict[Any, list] = {}
    annotations = [
        one for one in _records(data, 'annotations') if type(one.get('category_id')) is int
    ]
    for annotation in counted_annotations(annotations, names, classes):
        bbox = _box(annotation)
        if bbox is not None and type(annotation.get('image_id')) is int:
            one = ignored if is_ignored(annotation) else boxes
            one.setdefault(annotation['image_id'], []).append(bbox)
    for image in images:
        file_name = _text(image, 'file_name')
        if file_name is None or (leads_outside(file_name) and not allow_outside):
            continue
        key = image.get('id')
        entry = ImageEntry(
            split=name,
            name=file_name,
            path=os.path.normpath(os.path.join(image_folder, file_name)),
            size=_size(image),
            patient=_patient(image),
            boxes=boxes.get(key, []) if type(key) is int else [],
            ignored=ignored.get(key, []) if type(key) is int else [],
        )
        label = film_labels(image, len(entry.boxes), len(entry.ignored)).label
        entry.label = label if type(label) is int else None
        split.entries.append(entry)
    return split


def split_names(ann_files: Sequence[str]) -> list[str]:
    """A name for each file: its stem, or its path where stems are equal."""
    stems = [Path(file).stem for file in ann_files]
    return [
        stem if stems.count(stem) == 1 else file
        for stem, file in zip(stems, ann_files, strict=True)
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    _, is_no_json, fault = str(error).rpartition(' is not JSON: ')
    return fault + ' (not JSON)' if is_no_json else fault


def _records(data: Any, key: str) -> list[dict]:
    """Objects in a list, in their places; what is no object becomes {}."""
    records = data.get(key) if isinstance(data, dict) else None
    if not isinstance(records, list):
        return []
    return [record if isinstance(record, dict) else {} for record in records]


def _text(image: dict, key: str) -> str | None:
    value = image.get(key)
    return value if isinstance(value, str) and value else None


def _size(image: dict) -> tuple[int, int] | None:
    sides: list[Any] = [image.get('width'), image.get('height')]
    if all(type(side) is int and 0 < side < _BEYOND for side in sides):
        return sides[0], sides[1]
    return None


def _patient(image: dict) -> str | None:
    patient = image.get('patient_id')
    return str(patient) if type(patient) in (int, str) else None


def _box(annotation: dict) -> list[float] | None:
    bbox = annotation.get('bbox')
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(type(v) in (int, float) and abs(v) < _BEYOND for v in bbox):
        return None
    return bbox
