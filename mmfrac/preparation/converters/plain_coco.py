# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any COCO file: its fracture categories, labels and patients."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmfrac.datasets.coco_checks import (
    ANNOTATION_FIELDS,
    IMAGE_FIELDS,
    check_annotations,
    read_annotations,
)
from mmfrac.datasets.labels import (
    film_labels,
    is_fracture,
    is_ignored,
    names_fracture,
    outline_of,
)
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.tables.values import ImageRow, RawBox
from mmfrac.utils.errors import AnnotationError, raise_problems

UNBOXED = ('negative', 'unknown')


def convert_coco(
    annotation_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    categories: Sequence[str] | None = None,
    unboxed: str = 'negative',
    patient_pattern: str | None = None,
) -> ConversionSummary:
    """Convert a COCO JSON with other categories, or without film fields.

    A film with a box of a fracture category has label 1 and complete regions. A film without has the
    ``label`` of the file, if it has one; else ``unboxed`` decides: 'negative', where every film was read
    for fractures, or 'unknown'. A film that has only boxes with ``iscrowd`` or ``ignore``, or of a
    fracture category that is not among ``categories``, is uncertain; what became of films that have
    boxes of other categories alone is noted. Ignored boxes are written with ``iscrowd`` 1. ``source``,
    ``patient_id``, ``regions`` of a film and ``site`` of an annotation are kept.

    Args:
        annotation_file (str or os.PathLike): COCO JSON.
        image_dir (str or os.PathLike): Folder that file names are relative to.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        categories (Sequence[str], optional): Names of the categories that are fractures. Defaults to
            None, those with 'fracture' in their name; boxes of a category that may say that there is
            none, as 'no fracture', are refused then.
        unboxed (str): 'negative' or 'unknown'. Defaults to 'negative'.
        patient_pattern (str, optional): Regular expression whose first group, or whole match, is the
            patient in the file name. Defaults to None; ``patient_id``, else the film has none.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If a choice does not exist.
        AnnotationError: With all problems of the file; nothing is written then.
    """
    if unboxed not in UNBOXED:
        raise ValueError(f'unboxed {unboxed!r} is none of {list(UNBOXED)}')
    try:
        pattern = None if patient_pattern is None else re.compile(patient_pattern)
    except re.error as error:
        raise ValueError(
            f'patient pattern {patient_pattern!r} is no expression: {error}'
        ) from error
    conversion = Conversion(image_dir, out_file, options, 'coco')
    file = os.fspath(annotation_file)
    conversion.reads(file)
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no annotation file '{file}'")
    data = read_annotations(file)
    outside = conversion.options.allow_outside
    raise_problems(file, check_annotations(data, _counted_names(data, categories), outside))
    counted = _fracture_categories(file, data, categories)
    boxes = Counter(annotation['category_id'] for annotation in data['annotations'])
    told = ', '.join(f'{name!r} ({boxes[key]} boxes)' for key, name in counted.items())
    conversion.notes.append(f'categories that count as fractures: {told}')
    conversion.notes += _unread_notes(data)
    image_rows = _image_rows(os.path.basename(file), data, counted, unboxed, pattern, conversion)
    return conversion.write(image_rows, len(data['images']))


def _counted_names(data: Any, wanted: Sequence[str] | None) -> list[str] | None:
    """Categories whose boxes are lesions; None, all, where the file does not show them."""
    found = data.get('categories') if isinstance(data, dict) else None
    records = found if isinstance(found, list) else []
    names = [one.get('name') for one in records if isinstance(one, dict)]
    if wanted is not None:
        return list(wanted) if set(wanted) & set(map(str, names)) else None
    return [name for name in names if isinstance(name, str) and is_fracture(name)] or None


def _fracture_categories(
    file: str, data: dict[str, Any], wanted: Sequence[str] | None
) -> dict[int, str]:
    """Id to name of those that are fractures."""
    names = {category['id']: category['name'] for category in data['categories']}
    absent = sorted(set(wanted or ()) - set(names.values()))
    if wanted is not None:
        counted = {key: name for key, name in names.items() if name in wanted}
    else:
        counted = {key: name for key, name in names.items() if is_fracture(name)}
        used = {annotation['category_id'] for annotation in data['annotations']}
        doubtful = [
            name
            for key, name in names.items()
            if key in used - set(counted) and names_fracture(name)
        ]
        if doubtful:
            raise AnnotationError(
                f'{file}: there are boxes of {", ".join(map(repr, doubtful))}, whose name does not say '
                f'whether they are fractures; name the categories that are (--categories), of '
                f'{list(names.values())}'
            )
    if absent or not counted:
        raise AnnotationError(
            f'{file}: no category {absent or "with fracture in its name"}, there are '
            f'{list(names.values())}; name those that are fractures (--categories)'
        )
    return counted


# Names of fields in a message.
_MOST_FIELDS = 30


def _unread_notes(data: dict[str, Any]) -> list[str]:
    """A sentence for images, and one for annotations, that have fields that nobody reads."""
    notes = []
    for key, read in (('images', IMAGE_FIELDS), ('annotations', ANNOTATION_FIELDS)):
        names = sorted({name for record in data[key] for name in record.keys() - read})
        if names:
            rest = f' and {len(names) - _MOST_FIELDS} more' if len(names) > _MOST_FIELDS else ''
            notes.append(
                f'fields of {key} that are not read: {", ".join(names[:_MOST_FIELDS])}{rest}'
            )
    return notes


def _image_rows(
    file: str,
    data: dict[str, Any],
    counted: dict[int, str],
    unboxed: str,
    pattern: re.Pattern | None,
    conversion: Conversion,
) -> Iterator[ImageRow]:
    names = {category['id']: category['name'] for category in data['categories']}
    boxes: dict[int, list[RawBox]] = defaultdict(list)
    others: dict[int, set[str]] = defaultdict(set)
    for index, annotation in enumerate(data['annotations']):
        if annotation['category_id'] not in counted:
            name = names[annotation['category_id']]
            conversion.leave_out(f'{name} boxes, another finding')
            others[annotation['image_id']].add(name)
        else:
            boxes[annotation['image_id']].append(_box(index, annotation, conversion))
    for index, image in enumerate(data['images']):
        location = f'images[{index}] (id {image["id"]}, {image["file_name"]})'
        drawn = boxes.get(image['id'], [])
        found = sum(not box.is_ignored for box in drawn)
        named = others.get(image['id'], set())
        undecided = len(drawn) - found + sum(map(names_fracture, named))
        label: int | None = film_labels(image, found, undecided).label
        if 'label' not in image and not drawn and image.get('regions') is False:
            conversion.noted['images with neither label nor box, but regions false: uncertain'] += 1
        if label == 0 and 'label' not in image and unboxed == 'unknown':
            label = None
        label = conversion.decide(label)
        if 'label' not in image and not found:
            told = {-1: 'label -1', 0: 'label 0', 1: 'label 1', None: 'left out'}[label]
            for name in sorted(named):
                conversion.noted[
                    f'images with boxes of {name}, and none of those asked for: {told}'
                ] += 1
            if drawn:
                conversion.noted[f'images whose fracture boxes are all ignored: {told}'] += 1
        if label is None:
            continue
        patient = str(image['patient_id']) if 'patient_id' in image else None
        if pattern is not None:
            match = pattern.search(image['file_name'])
            found_patient = match and match[1 if pattern.groups else 0]
            if not found_patient:
                conversion.problems.add(
                    file, location, f'no patient {pattern.pattern!r} in its name'
                )
                continue
            if patient not in (None, found_patient):
                conversion.noted[
                    'images with another patient_id than in their name, which counts'
                ] += 1
            patient = found_patient
        size = (image['width'], image['height'])
        regions = bool(found) and image.get('regions', True)
        source = conversion.options.source or image.get('source')
        yield ImageRow(
            file, location, (image['file_name'],), label, patient, regions, drawn, size, source
        )


def _box(index: int, annotation: dict, conversion: Conversion) -> RawBox:
    x, y, width, height = annotation['bbox']
    outline = outline_of(annotation.get('segmentation'))
    polygon = outline[0] if isinstance(outline, list) and len(outline) == 1 else None
    if outline is not None and polygon is None:
        conversion.changed['masks left out, their boxes kept'] += 1
    location = f'annotations[{index}]'
    return RawBox(
        [x, y, x + width, y + height],
        location,
        annotation.get('site'),
        polygon,
        is_ignored=is_ignored(annotation),
    )
