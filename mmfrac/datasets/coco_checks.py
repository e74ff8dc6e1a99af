# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An annotation file: read once, and everything that is wrong with it."""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from mmengine.fileio import get_local_path

from mmfrac.utils.errors import AnnotationError


class Problem(NamedTuple):
    """One thing that is wrong with an annotation file; ``str()`` is its line.

    Attributes:
        kind (str): 'field' (missing or of a wrong type), 'duplicate_id', 'box' or 'label'.
        where (str): The record's place, id and file name; '' for the file as a whole.
        fault (str): What is wrong.
        image_index (int, optional): Place of the film concerned in ``images``.
    """

    kind: str
    where: str
    fault: str
    image_index: int | None = None

    def __str__(self) -> str:
        return f'{self.where}: {self.fault}' if self.where else self.fault


_HOW_TO_SET = (
    'set data_root in the config or on the command line (--data-root FOLDER); '
    '`python tools/make_phantom.py FOLDER` makes phantom films'
)


def check_folders(data_root: str | None, image_folder: str, ann_file: str) -> None:
    """Raise a FileNotFoundError that says what is missing and how to set it.

    Args:
        data_root (str, optional): Root of the data set.
        image_folder (str): Where the film names start.
        ann_file (str): Annotation file.

    Raises:
        FileNotFoundError: If one of them is missing.
    """
    for what, path in (('data_root', data_root), ('image folder', image_folder)):
        if path and not os.path.isdir(path):
            raise FileNotFoundError(f"CXRDataset: no {what} '{path}': {_HOW_TO_SET}")
    if not os.path.isfile(ann_file):
        raise FileNotFoundError(
            f"CXRDataset: no annotation file '{ann_file}' (data_root '{data_root}'): {_HOW_TO_SET}"
        )


def read_annotations(ann_file: str, backend_args: dict | None = None) -> Any:
    """Parse an annotation file.

    Args:
        ann_file (str): Path or URL of a JSON file.
        backend_args (dict, optional): MMEngine file back end. Defaults to None, local.

    Returns:
        Any: What the JSON holds, unchecked.

    Raises:
        AnnotationError: If it is not JSON.
    """
    with get_local_path(ann_file, backend_args=backend_args) as path:
        try:
            # of bytes JSON tells UTF-8, also with a byte-order mark, from UTF-16
            with open(path, 'rb') as file:
                return json.load(file)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f'{ann_file} is not JSON: {error}') from error


LABELS = (-1, 0, 1)

# Boxes may leave their film by this much (px): the rounding of the tools that drew them.
BOX_TOLERANCE = 1.0

# px; JSON integers have no limit, floats do.
_LARGEST = 2**53


def check_annotations(data: Any, classes: Collection[str] | None = None) -> list[str]:
    """Check a COCO file with mmfrac's film fields (all of them optional).

    Args:
        data (Any): The parsed JSON.
        classes (Collection[str], optional): Categories whose boxes count; None: all. Defaults to None.

    Returns:
        list[str]: One line for each problem, with the record's place, id and file name.
    """
    return [str(problem) for problem in find_problems(data, classes)]


def find_problems(data: Any, classes: Collection[str] | None = None) -> list[Problem]:
    """The same, by kind and film.

    Args:
        data (Any): The parsed JSON.
        classes (Collection[str], optional): Categories whose boxes count; None: all. Defaults to None.

    Returns:
        list[Problem]: In the order of the file's parts: categories, films, boxes, labels.
    """
    if not isinstance(data, dict):
        fault = f'the file must hold a JSON object, it holds a {type(data).__name__}'
        return [Problem('field', '', fault)]
    problems = []
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(data.get(key), list):
            found = type(data[key]).__name__ if key in data else 'nothing'
            problems.append(Problem('field', '', f"'{key}' must be a list, there is {found}"))
    if problems:
        return problems
    names, lines = _check_categories(data['categories'])
    problems += lines
    if classes is not None and not set(classes) & set(names.values()):
        fault = (
            f'none of the classes {list(classes)} is among the categories {list(names.values())}; '
            'set metainfo=dict(classes=(...)) to those wanted'
        )
        problems.append(Problem('field', '', fault))
    images, lines = _check_images(data['images'])
    problems += lines
    counted = {key for key, name in names.items() if classes is None or name in classes}
    boxes, lines = _check_boxes(data['annotations'], images, names, counted)
    return problems + lines + _check_labels(data['images'], boxes)


def image_name(index: int, image: Any) -> str:
    """How a message calls the film: ``images[12] (id 7, a.png)``."""
    if not isinstance(image, dict):
        return f'images[{index}]'
    return f'images[{index}] (id {image.get("id")}, {image.get("file_name")})'


def find_missing(images: Iterable[tuple[str, Mapping]], folder: str) -> list[str]:
    """Films that are not on disk; each folder is listed once.

    Args:
        images (Iterable[tuple[str, Mapping]]): Name for the message and COCO image of each film.
        folder (str): Where the file names start.

    Returns:
        list[str]: One line for each film missing.
    """
    listed: dict[str, set[str]] = {}
    problems = []
    for name, image in images:
        path = os.path.join(folder, image['file_name'])
        parent, base = os.path.split(path)
        if parent not in listed:
            try:
                with os.scandir(parent or '.') as entries:
                    listed[parent] = {entry.name for entry in entries}
            except (OSError, ValueError):  # ValueError: a name that no file can have
                listed[parent] = set()
        if base not in listed[parent]:
            problems.append(f'{name}: missing file {path}')
    return problems


def _check_categories(categories: list) -> tuple[dict, list[Problem]]:
    names: dict = {}
    problems = []
    for index, category in enumerate(categories):
        kind, fault = 'field', None
        if not isinstance(category, dict) or not {'id', 'name'} <= category.keys():
            fault = "must be an object with 'id' and 'name'"
        elif not _is_id(category['id']) or not isinstance(category['name'], str):
            fault = 'id must be an integer, name a string'
        elif category['id'] in names:
            kind, fault = 'duplicate_id', f'duplicate id {category["id"]}'
        else:
            names[category['id']] = category['name']
        if fault:
            problems.append(Problem(kind, f'categories[{index}]', fault))
    return names, problems


def _check_images(images: list) -> tuple[dict, list[Problem]]:
    """Returns id -> (index, image) of the films that can be used further, and problems."""
    good: dict = {}
    files: dict[str, int] = {}
    problems = []
    for index, image in enumerate(images):
        kind, faults = 'field', image_faults(image)
        if not faults:
            kind = 'duplicate_id'
            if image['id'] in good:
                faults.append(f'duplicate id, also images[{good[image["id"]][0]}]')
            if image['file_name'] in files:
                faults.append(f'duplicate file_name, also images[{files[image["file_name"]]}]')
            good.setdefault(image['id'], (index, image))
            files.setdefault(image['file_name'], index)
        problems += [Problem(kind, image_name(index, image), fault, index) for fault in faults]
    return good, problems


def image_faults(image: Any) -> list[str]:
    """What is wrong with one COCO image and its film fields, taken alone."""
    if not isinstance(image, dict):
        return [f'must be an object, it is a {type(image).__name__}']
    faults = []
    for key in ('id', 'file_name', 'width', 'height'):
        if key not in image:
            faults.append(f"missing field '{key}'")
    if 'id' in image and not _is_id(image['id']):
        faults.append(f'id must be an integer, got {image["id"]!r}')
    name = image.get('file_name', 'x')
    if not isinstance(name, str) or not name:
        faults.append(f'file_name must be a non-empty string, got {name!r}')
    for key in ('width', 'height'):
        if not _is_id(image.get(key, 1)) or not 0 < image.get(key, 1) < _LARGEST:
            faults.append(f'{key} must be a positive integer (px), got {image[key]!r}')
    label = image.get('label', 0)
    if not _is_id(label) or label not in LABELS:
        faults.append(f'unknown label {label!r}, valid are {LABELS} (unknown, none, fracture)')
    if not isinstance(image.get('regions', True), bool):
        faults.append(f'regions must be true or false, got {image["regions"]!r}')
    if not isinstance(image.get('source', ''), str):
        faults.append(f'source must be a string, got {image["source"]!r}')
    patient = image.get('patient_id', '')
    if not isinstance(patient, str) and not _is_id(patient):
        faults.append(f'patient_id must be a string or an integer, got {patient!r}')
    return faults


def _check_boxes(
    annotations: list, images: dict, names: dict, counted: set
) -> tuple[dict[int, int], list[Problem]]:
    """Returns the number of counted boxes of each image id, and problems."""
    boxes: dict[int, int] = {}
    ids: dict[int, int] = {}
    problems = []

    def report(kind: str, where: str, fault: str, image_index: int | None = None) -> None:
        problems.append(Problem(kind, where, fault, image_index))

    for index, annotation in enumerate(annotations):
        where = f'annotations[{index}]'
        if not isinstance(annotation, dict):
            report('field', where, f'must be an object, it is a {type(annotation).__name__}')
            continue
        name = f'{where} (id {annotation.get("id")}'
        where = f'{name})'
        absent = [k for k in ('id', 'image_id', 'category_id', 'bbox') if k not in annotation]
        if absent:
            report('field', where, 'missing field ' + ', '.join(map(repr, absent)))
            continue
        key, image_id, category = (annotation[k] for k in ('id', 'image_id', 'category_id'))
        if not (_is_id(key) and _is_id(image_id) and _is_id(category)):
            report('field', where, 'id, image_id and category_id must be integers')
            continue
        image_index, image = images.get(image_id, (None, {}))
        if key in ids:
            report(
                'duplicate_id', where, f'duplicate id, also annotations[{ids[key]}]', image_index
            )
        ids.setdefault(key, index)
        if category not in names:
            report(
                'field',
                where,
                f'unknown category_id {category}, valid are {list(names)}',
                image_index,
            )
        if image_index is None:
            report('field', where, f'image_id {image_id} is no (sound) film of the file')
            continue
        wrong = bbox_fault(annotation['bbox'], image['width'], image['height'])
        if wrong:
            report('box', f'{name}, film {image["file_name"]})', wrong, image_index)
        if category in counted:
            boxes[image_id] = boxes.get(image_id, 0) + 1
    return boxes, problems


def bbox_fault(bbox: Any, width: int, height: int) -> str | None:
    """What is wrong with a COCO box [x, y, w, h] (px) on its film, None if nothing is."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        return f'bbox must be four finite numbers [x, y, w, h] (px), got {bbox!r}'
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        return f'box {bbox} (x, y, w, h) has no positive size'
    tol = BOX_TOLERANCE
    if x < -tol or y < -tol or x + w > width + tol or y + h > height + tol:
        return f'box {bbox} (x, y, w, h) lies outside its film of {width} x {height} px'
    return None


def _check_labels(images: list, boxes: dict[int, int]) -> list[Problem]:
    problems = []
    for index, image in enumerate(images):
        if not isinstance(image, dict) or not _is_id(image.get('id')):
            continue
        fault = label_fault(image.get('label'), image.get('regions'), boxes.get(image['id'], 0))
        if fault:
            problems.append(Problem('label', image_name(index, image), fault, index))
    return problems


def label_fault(label: Any, regions: Any, count: int) -> str | None:
    """How label, regions and number of boxes of one film contradict each other, None if not."""
    if label == 1 and regions is True and not count:
        return 'label 1 with regions true, but no box; regions false if the boxes are unknown'
    if label == 0 and count:
        return f'label 0, but {count} box(es)'
    if label == -1 and count:
        return f'label -1 (unknown), but {count} box(es); a film with a fracture box has label 1'
    return None


def _is_id(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST
