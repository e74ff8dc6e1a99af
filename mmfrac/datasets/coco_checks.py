# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An annotation file: read once, and everything that is wrong with it."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from mmengine.fileio import get_local_path

from mmfrac.datasets.labels import is_ignored, names_fracture, names_nobody, outline_of
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import DuplicateKeyError, leads_outside, parse_json, plain_path


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
        AnnotationError: If it is not JSON, or an object of it has a key twice.
    """
    with get_local_path(ann_file, backend_args=backend_args) as path:
        try:
            with open(path, 'rb') as file:
                return parse_json(file.read())
        except DuplicateKeyError as error:
            raise AnnotationError(f'{ann_file}: {error}') from error
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f'{ann_file} is not JSON: {error}') from error


LABELS = (-1, 0, 1)

_NO_IMAGE: tuple[int | None, dict] = (None, {})

# Boxes may leave their film by this much (px): the rounding of the tools that drew them.
BOX_TOLERANCE = 1.0

# JSON integers have no limit, floats and the columns of ids do.
_LARGEST = 2**53

# Share of an area that rounding may change.
_ROUNDED_AREA = 1e-3

# px; no film is as large.
_LARGEST_SIDE = 10**6


def check_annotations(
    data: Any, classes: Collection[str] | None = None, outside: bool = False
) -> list[str]:
    """Check a COCO file with mmfrac's film fields (all of them optional).

    Args:
        data (Any): The parsed JSON.
        classes (Collection[str], optional): Categories whose boxes count; None: all. Defaults to None.
        outside (bool): Whether file names may lead out of the image folder. Defaults to False.

    Returns:
        list[str]: One line for each problem, with the record's place, id and file name.
    """
    return [str(problem) for problem in find_problems(data, classes, outside)]


def find_problems(
    data: Any, classes: Collection[str] | None = None, outside: bool = False
) -> list[Problem]:
    """The same, by kind and film.

    Args:
        data (Any): The parsed JSON.
        classes (Collection[str], optional): Categories whose boxes count, one of which must be there
            if there are boxes; None: all. Defaults to None.
        outside (bool): Whether file names may lead out of the image folder. Defaults to False.

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
    # without a box nothing is of a class
    needed = classes if data['annotations'] else None
    if needed is not None and not set(needed) & set(names.values()):
        fault = (
            f'none of the classes {list(needed)} is among the categories {list(names.values())}; '
            'name those wanted (metainfo=dict(classes=(...)), --category)'
        )
        problems.append(Problem('field', '', fault))
    elif needed is not None:
        problems += _respelt_classes(data['annotations'], names, needed)
    images, lines = _check_images(data['images'], outside)
    problems += lines
    counted = {key for key, name in names.items() if classes is None or name in classes}
    boxes, ignored, others, lines = _check_boxes(data['annotations'], images, names, counted)
    return problems + lines + _check_labels(data['images'], boxes, ignored, others)


def image_name(index: int, image: Any) -> str:
    """How a message calls the film: ``images[12] (id 7, a.png)``."""
    if not isinstance(image, dict):
        return f'images[{index}]'
    return f'images[{index}] (id {_told(image.get("id"))}, {_told(image.get("file_name"))})'


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


def _respelt_classes(annotations: list, names: dict, classes: Collection[str]) -> list[Problem]:
    """Categories with boxes that are a class in another spelling: their boxes would be no lesions."""
    meant = {_class_key(name): name for name in classes}
    likely = {
        key: meant[_class_key(name)]
        for key, name in names.items()
        if name not in classes and _class_key(name) in meant
    }
    if not likely:
        return []
    counts = Counter(
        one['category_id']
        for one in annotations
        if isinstance(one, dict) and _is_id(one.get('category_id')) and one['category_id'] in likely
    )
    return [
        Problem(
            'field',
            '',
            f'category {names[key]!r} has {count} boxes and is none of the classes {list(classes)}; is '
            f'it {likely[key]!r}? Write that, or name both (metainfo=dict(classes=(...)), --category)',
        )
        for key, count in counts.items()
    ]


def _class_key(name: str) -> str:
    return re.sub(r'[\s_]+|(?<=\w)-(?=\w)', ' ', name).strip().lower().rstrip('s')


def _check_images(images: list, outside: bool) -> tuple[dict, list[Problem]]:
    """Returns id -> (index, image) of the films that can be used further, and problems."""
    good: dict = {}
    files: dict[str, int] = {}
    problems = []
    for index, image in enumerate(images):
        kind, faults = 'field', image_faults(image, outside)
        if not faults:
            kind = 'duplicate_id'
            first = good.setdefault(image['id'], (index, image))[0]
            if first != index:
                faults.append(f'duplicate id, also images[{first}]')
            name = image['file_name']
            first = files.setdefault(plain_path(name), index)
            if first != index:
                other = images[first]['file_name']
                spelt = '' if other == name else f', there as {_shown(other)}'
                faults.append(f'duplicate file_name, also images[{first}]{spelt}')
        if faults:
            problems += [Problem(kind, image_name(index, image), fault, index) for fault in faults]
    return good, problems


def image_faults(image: Any, outside: bool = False) -> list[str]:
    """What is wrong with one COCO image and its film fields, taken alone.

    Args:
        image (Any): Of ``images``.
        outside (bool): Whether its file name may lead out of the image folder. Defaults to False.
    """
    if not isinstance(image, dict):
        return [f'must be an object, it is a {type(image).__name__}']
    faults = []
    get = image.get
    for key in ('id', 'file_name', 'width', 'height'):
        if key not in image:
            faults.append(f"missing field '{key}'")
    image_id = get('id', 0)
    if not _is_id(image_id):
        faults.append(f'id must be an integer, got {_shown(image_id)}')
    name = get('file_name', 'x')
    if not isinstance(name, str) or not name:
        faults.append(f'file_name must be a non-empty string, got {_shown(name)}')
    elif not outside and leads_outside(name):
        faults.append(
            f'file_name {_shown(name)} leads out of the image folder; names that do are only taken '
            'where that is allowed (allow_outside=True, --allow-outside)'
        )
    for key in ('width', 'height'):
        side = get(key, 1)
        if type(side) is not int or not 0 < side <= _LARGEST_SIDE:
            faults.append(f'{key} must be a positive integer (px), got {_shown(side)}')
    label = get('label', 0)
    if type(label) is not int or label not in LABELS:
        faults.append(
            f'unknown label {_shown(label)}, valid are {LABELS} (unknown, none, fracture)'
        )
    regions, source, patient = get('regions', True), get('source', ''), get('patient_id', 0)
    if type(regions) is not bool:
        faults.append(f'regions must be true or false, got {_shown(regions)}')
    if not isinstance(source, str):
        faults.append(f'source must be a string, got {_shown(source)}')
    if isinstance(patient, str):
        if names_nobody(patient):
            faults.append(
                f'patient_id {_shown(patient)} names nobody and makes one patient of many; leave it '
                'out where it is unknown'
            )
    elif not _is_id(patient):
        faults.append(f'patient_id must be a string or an integer, got {_shown(patient)}')
    if not IMAGE_FIELDS.issuperset(image):
        faults += _misnamed(image, IMAGE_FIELDS, _IMAGE_WORDS)
    return faults


# Fields that mmfrac reads, and words that others write in their place.
IMAGE_FIELDS = frozenset(
    ('id', 'file_name', 'width', 'height', 'label', 'regions', 'source', 'patient_id')
)
Words = tuple[tuple[str, str], ...]
_IMAGE_WORDS: Words = (
    ('fracture', 'label'),
    ('fractured', 'label'),
    ('hasfracture', 'label'),
    ('patient', 'patient_id'),
)
ANNOTATION_FIELDS = frozenset(
    ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd', 'ignore', 'segmentation', 'site')
)
_ANNOTATION_WORDS: Words = (
    ('difficult', 'ignore'),
    ('ignored', 'ignore'),
    ('crowd', 'iscrowd'),
)


def _misnamed(record: Mapping, fields: frozenset[str], words: Words) -> list[str]:
    """Fields of a record that nobody reads and that look like one of ``fields``, which is absent."""
    faults = []
    for name in record.keys() - fields:
        right = _likely_field(name, fields, words) if isinstance(name, str) else None
        if right is None or record[name] is None:
            continue
        is_flag = right in ('iscrowd', 'ignore')
        if is_flag and (not record[name] or is_ignored(record)):
            continue
        if right in record and not is_flag:
            continue
        faults.append(
            f'field {_shown(name)} is not read; is it {right!r}? Write that, or drop the field'
        )
    return sorted(faults)


@lru_cache(maxsize=4096)
def _likely_field(name: str, fields: frozenset[str], words: Words) -> str | None:
    """The field that a name means which differs in case, underscores or a final s, if any."""
    key = _field_key(name)
    return {_field_key(field): field for field in fields}.get(key) or dict(words).get(key)


def _field_key(name: str) -> str:
    return re.sub(r'[\W_]+', '', name).lower().rstrip('s')


def _check_boxes(
    annotations: list, images: dict, names: dict, counted: set
) -> tuple[dict[int, int], dict[int, int], dict[int, str], list[Problem]]:
    """Returns the numbers of counted lesions and of ignored boxes by image id, a category that is not
    counted by image id, and problems."""
    boxes: dict[int, int] = {}
    ignored: dict[int, int] = {}
    others: dict[int, str] = {}
    ids: dict[int, int] = {}
    misread: list[tuple[str, str, int]] = []
    problems = []

    def report(kind: str, where: str, fault: str, image_index: int | None = None) -> None:
        problems.append(Problem(kind, where, fault, image_index))

    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            fault = f'must be an object, it is a {type(annotation).__name__}'
            report('field', f'annotations[{index}]', fault)
            continue
        try:
            key, image_id = annotation['id'], annotation['image_id']
            category, bbox = annotation['category_id'], annotation['bbox']
        except KeyError:
            keys = ('id', 'image_id', 'category_id', 'bbox')
            absent = ', '.join(repr(k) for k in keys if k not in annotation)
            report('field', _box_name(index, annotation), f'missing field {absent}')
            continue
        if not (_is_id(key) and _is_id(image_id) and _is_id(category)):
            fault = 'id, image_id and category_id must be integers'
            report('field', _box_name(index, annotation), fault)
            continue
        image_index, image = images.get(image_id, _NO_IMAGE)
        first = ids.setdefault(key, index)
        if first != index:
            fault = f'duplicate id, also annotations[{first}]'
            report('duplicate_id', _box_name(index, annotation), fault, image_index)
        if category not in names:
            fault = f'unknown category_id {category}, valid are {list(names)}'
            report('field', _box_name(index, annotation), fault, image_index)
        if image_index is None:
            fault = f'image_id {image_id} is no (sound) film of the file'
            report('field', _box_name(index, annotation), fault)
            continue
        width, height = image['width'], image['height']
        wrong = bbox_fault(bbox, width, height)
        if wrong:
            report('box', _box_name(index, annotation, image), wrong, image_index)
        else:
            doubt = _form_doubt(annotation, width, height)
            if doubt:
                misread.append((_box_name(index, annotation, image), doubt, image_index))
        for fault in annotation_faults(annotation, width, height):
            report('field', _box_name(index, annotation, image), fault, image_index)
        if category in counted:
            one = ignored if is_ignored(annotation) else boxes
            one[image_id] = one.get(image_id, 0) + 1
        elif category in names:
            others.setdefault(image_id, names[category])
    # a single tiny box may be meant, and an area be chance, most boxes of a file are not
    if 2 * len(misread) > len(annotations):
        for place, fault, image_index in misread:
            report('box', place, fault, image_index)
    return boxes, ignored, others, problems


def _form_doubt(annotation: Mapping, width: int, height: int) -> str | None:
    """Why a box that lies on its film may be of another form than [x, y, w, h] (px), None if not."""
    x, y, w, h = annotation['bbox']
    if x + w <= 1 and is_relative((x, y, x + w, y + h), width, height):
        return relative_fault(annotation['bbox'])
    area: Any = annotation.get('area')
    if w <= x or h <= y or annotation.get('segmentation'):
        return None
    if type(area) not in _NUMBERS or not 0 < area <= _LARGEST:
        return None
    if abs(area - (w - x) * (h - y)) > _ROUNDED_AREA * area or abs(area - w * h) <= area / 100:
        return None
    return (
        f'box {annotation["bbox"]} (x, y, w, h) has {w * h:g} px, and its area says {area:g}, which is '
        'right for [x1, y1, x2, y2]: boxes are [x, y, w, h]'
    )


def _box_name(index: int, annotation: Mapping, image: Mapping | None = None) -> str:
    """How a message calls the annotation: ``annotations[3] (id 4, film a.png)``."""
    film = '' if image is None else f', film {image["file_name"]}'
    return f'annotations[{index}] (id {_told(annotation.get("id"))}{film})'


def annotation_faults(annotation: Mapping, width: int, height: int) -> list[str]:
    """What is wrong with the fields of one COCO annotation but its ids and its box.

    Args:
        annotation (Mapping): Of ``annotations``.
        width (int): Of its image, px.
        height (int): Of its image, px.
    """
    faults = []
    get = annotation.get
    area = get('area', 1)
    for key in ('iscrowd', 'ignore'):
        flag = get(key, 0)
        # 0 is 0.0 and '0' is not: only the integers and the words of JSON
        if type(flag) is not bool and (type(flag) is not int or not 0 <= flag <= 1):
            faults.append(f'{key} must be 0 or 1, got {_shown(flag)}')
    if type(area) not in _NUMBERS or not 0 < area <= _LARGEST:
        faults.append(f'area must be a positive number (px), got {_shown(area)}')
    site = get('site')
    if site is not None and not isinstance(site, str):
        faults.append(f'site must be a string, got {_shown(site)}')
    outline = get('segmentation')
    if outline is not None and outline != []:
        fault = _outline_fault(outline, width, height) or _strayed(outline, get('bbox'), height)
        faults += [fault] if fault else []
    if not ANNOTATION_FIELDS.issuperset(annotation):
        faults += _misnamed(annotation, ANNOTATION_FIELDS, _ANNOTATION_WORDS)
    return faults


def _outline_fault(segmentation: Any, width: int, height: int) -> str | None:
    if isinstance(segmentation, dict):
        return _mask_fault(segmentation, width, height)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        return (
            'segmentation must be a list of polygons [x1, y1, x2, y2, ...] (px) or a run-length mask, '
            f'got {_shown(segmentation)}'
        )
    for polygon in outline_of(segmentation) or ():
        if len(polygon) < 6 or len(polygon) % 2 or not _are_numbers(polygon):
            return (
                'a polygon of segmentation is a list of at least three points x, y (px), got '
                f'{_shown(polygon)}'
            )
        xs, ys = polygon[::2], polygon[1::2]
        tol = BOX_TOLERANCE
        if min(xs) < -tol or min(ys) < -tol or max(xs) > width + tol or max(ys) > height + tol:
            return f'a polygon of segmentation lies outside its film of {width} x {height} px'
    return None


def _mask_fault(mask: dict, width: int, height: int) -> str | None:
    if mask.get('size') != [height, width]:
        return (
            f'the mask of segmentation has size {_shown(mask.get("size"))}, [height, width] of its '
            f'film is {[height, width]}'
        )
    runs = _runs(mask.get('counts'))
    if runs is not None and sum(runs) == width * height:
        return None
    return (
        'counts of the mask of segmentation must be runs of pixels, as a list or as the string of '
        f'COCO, that add up to the {width * height} of its film'
        + ('' if runs is None else f'; they add up to {_shown(sum(runs))}')
    )


def _runs(counts: Any) -> list[int] | None:
    """Lengths of the runs of a run-length mask, background first; None if it has none."""
    if isinstance(counts, str):
        counts = _runs_of_text(counts)
    if isinstance(counts, list) and counts and all(_is_id(run) and run >= 0 for run in counts):
        return counts
    return None


def _runs_of_text(text: str) -> list[int] | None:
    """Runs of COCO's compressed masks: six bits a character, from the third on differences to the
    last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        # a run has at most 2**53 pixels
        if not 0 <= bits < 64 or shift > 55:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return None if shift else runs


def _strayed(outline: Any, bbox: Any, height: int) -> str | None:
    """What is said of a sound outline that draws nothing, or nothing in its box; None if it does."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not _are_numbers(bbox):
        return None
    if isinstance(outline, dict):
        ends = np.cumsum(_runs(outline['counts']) or [], dtype=np.int64)
        first, last = ends[:-1:2], ends[1::2] - 1
        drawn = first <= last
        first, last = first[drawn], last[drawn]
        if not len(first):
            return 'the mask of segmentation is empty'
        # a run that goes on in the next column reaches the lowest row, and the highest one
        whole = (first // height != last // height).any()
        top, bottom = (0, height) if whole else (min(first % height), max(last % height) + 1)
        left, right = min(first) // height, max(last) // height + 1
    else:
        points = [value for polygon in outline_of(outline) or () for value in polygon]
        if not points:
            return None
        xs, ys = points[::2], points[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    x, y, w, h = bbox
    tol = BOX_TOLERANCE
    if left > x + w + tol or right < x - tol or top > y + h + tol or bottom < y - tol:
        return (
            f'its segmentation lies in x {left:g} to {right:g}, y {top:g} to {bottom:g} (px), off its '
            f'box {bbox} (x, y, w, h): are they of one lesion?'
        )
    return None


def bbox_fault(bbox: Any, width: int, height: int) -> str | None:
    """What is wrong with a COCO box [x, y, w, h] (px) on its film, None if nothing is."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not _are_numbers(bbox):
        return f'bbox must be four finite numbers [x, y, w, h] (px), got {_shown(bbox)}'
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        return f'box {bbox} (x, y, w, h) has no positive size'
    tol = BOX_TOLERANCE
    if x < -tol or y < -tol or x + w > width + tol or y + h > height + tol:
        cause = outside_cause(bbox, (w, h), width, height)
        return f'box {bbox} (x, y, w, h) lies outside its film of {width} x {height} px{cause}'
    return None


def outside_cause(
    box: Sequence[float], end: Sequence[float], width: int, height: int, form: str = '[x, y, w, h]'
) -> str:
    """What a box that leaves its film may be, for the message; '' if nothing is likely.

    Args:
        box (Sequence[float]): Four numbers, px.
        end (Sequence[float]): The last two of them.
        width (int): Of the film, px.
        height (int): Of the film, px.
        form (str): What boxes should be. Defaults to '[x, y, w, h]'.
    """
    x, y = box[:2]
    tol = BOX_TOLERANCE
    if form == '[x, y, w, h]':
        if -tol <= x < end[0] <= width + tol and -tol <= y < end[1] <= height + tol:
            return f'; is it [x1, y1, x2, y2]? Boxes are {form}'
        right, bottom = x + end[0], y + end[1]
    else:
        right, bottom = end
    if min(x, y) >= -tol and right <= height + tol and bottom <= width + tol:
        return '; are width and height of the film exchanged, or x and y of the box?'
    return ''


def is_relative(box: Sequence[float], width: int, height: int) -> bool:
    """Whether a box is a part of its film in [0, 1] and not in px.

    Args:
        box (Sequence[float]): (x1, y1, x2, y2).
        width (int): Of the film, px.
        height (int): Of the film, px.
    """
    return min(box[:2]) >= 0 and max(box) <= 1 and min(width, height) > 1


def relative_fault(box: Sequence[float], form: str = 'x, y, w, h') -> str:
    """What is said of a box that ``is_relative``."""
    return (
        f'box {list(box)} ({form}) lies in the first pixel of its film; is it a part of the film, in '
        '[0, 1]? Boxes are in px'
    )


def _check_labels(
    images: list, boxes: dict[int, int], ignored: dict[int, int], others: dict[int, str]
) -> list[Problem]:
    problems = []
    for index, image in enumerate(images):
        if not isinstance(image, dict) or not _is_id(image.get('id')):
            continue
        key = image['id']
        count, num_ignored = boxes.get(key, 0), ignored.get(key, 0)
        fault = label_fault(image.get('label'), image.get('regions'), count, num_ignored)
        if fault and image.get('label') == 1 and key in others:
            fault = (
                f'label 1 with regions true, but its box of {others[key]!r} is of none of the classes; '
                'name that category, too (metainfo=dict(classes=(...)), --category), or write regions '
                'false'
            )
        if not fault and 'label' not in image and not count and not num_ignored:
            fault = _unread_fracture(image)
        if fault:
            problems.append(Problem('label', image_name(index, image), fault, index))
    return problems


# What a field of a fracture says that is not that there is none.
_SAID = frozenset(
    ('1', '1.0', '-1', 'yes', 'y', 'true', 'positive', 'present', 'possible', 'uncertain')
)

_NEGATED = re.compile(r'[\W_]*(?:no|not|non|without|negative|neg|absent|kein\w*)(?![a-z])', re.I)

# Paths and addresses may hold any word.
_PATH = re.compile(r'[/\\]')

_LONGEST_TEXT = 1000


def _unread_fracture(image: Mapping) -> str | None:
    """What is said of an image without label and box that names a fracture in a field nobody reads."""
    for name in sorted(filter(_is_text, image.keys() - IMAGE_FIELDS)):
        if _likely_field(name, IMAGE_FIELDS, _IMAGE_WORDS):
            # that is said already
            continue
        value = image[name]
        words = [value] if not isinstance(value, list) else value
        of_fracture = names_fracture(name) and not _NEGATED.match(name)
        for word in words:
            text = str(word)[:_LONGEST_TEXT]
            counted = type(word) in (bool, int) and word != 0 and abs(word) < _LARGEST
            said = of_fracture and (counted or text.strip().lower() in _SAID)
            named = _is_text(word) and names_fracture(text) and not _NEGATED.match(text)
            if said or (named and not _PATH.search(text)):
                return (
                    f'no label and no box, which means label 0, but its field {_shown(name)} says '
                    f'{_shown(word)}: write label (1, 0 or -1)'
                )
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def label_fault(label: Any, regions: Any, count: int, ignored: int = 0) -> str | None:
    """How label, regions and boxes of one film contradict each other, None if not.

    Boxes that are ignored are no lesions: they may be on a film of any label. On one of label 0 they
    say where the exact mask is not to be asked; they alone do not make the boxes of a positive complete.

    Args:
        label (Any): Of the film, None where it has none.
        regions (Any): Of the film, None where it has none.
        count (int): Its lesions.
        ignored (int): Its boxes that are ignored. Defaults to 0.
    """
    if label == 1 and regions is True and not count:
        alone = f' but the {ignored} that are ignored' if ignored else ''
        return (
            f'label 1 with regions true, but no box{alone}; regions false if the boxes are unknown'
        )
    if label == 0 and count:
        return f'label 0, but {count} box(es)'
    if label == -1 and count:
        return f'label -1 (unknown), but {count} box(es); a film with a fracture box has label 1'
    if regions is True and not count and (label == -1 or (label is None and ignored)):
        return 'label unknown with regions true, but no box; regions false if it is not known'
    return None


def _is_id(value: Any) -> bool:
    return type(value) is int and -_LARGEST < value < _LARGEST


def _told(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _shown(value: Any) -> str:
    """A wrong value in a message, in short."""
    if type(value) is int and abs(value) >= _LARGEST:
        return 'an integer beyond 2**53'
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'


_NUMBERS = (int, float)


def _are_numbers(values: list) -> bool:
    # of NaN nothing holds
    for value in values:
        if type(value) not in _NUMBERS or not -_LARGEST <= value <= _LARGEST:
            return False
    return True
