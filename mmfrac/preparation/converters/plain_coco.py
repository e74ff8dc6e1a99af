# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any COCO file: its fracture categories, labels and patients."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmfrac.datasets.coco_checks import check_annotations, read_annotations
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
    for fractures, or 'unknown'. ``source``, ``patient_id``, ``regions`` of a film and ``site`` of an
    annotation are kept.

    Args:
        annotation_file (str or os.PathLike): COCO JSON.
        image_dir (str or os.PathLike): Folder that file names are relative to.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        categories (Sequence[str], optional): Names of the categories that are fractures. Defaults to
            None, those with 'fracture' in their name.
        unboxed (str): 'negative' or 'unknown'. Defaults to 'negative'.
        patient_pattern (str, optional): Regular expression whose first group, or whole match, is the
            patient in the file name. Defaults to None; ``patient_id``, else every film is a patient.

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
    raise_problems(file, check_annotations(data))
    counted = _fracture_categories(file, data['categories'], categories)
    image_rows = _image_rows(os.path.basename(file), data, counted, unboxed, pattern, conversion)
    return conversion.write(image_rows, len(data['images']))


def _fracture_categories(
    file: str, categories: list[dict], wanted: Sequence[str] | None
) -> dict[int, str]:
    """Id to name of those that are fractures."""
    names = {category['id']: category['name'] for category in categories}
    absent = sorted(set(wanted or ()) - set(names.values()))
    if wanted is not None:
        counted = {key: name for key, name in names.items() if name in wanted}
    else:
        counted = {key: name for key, name in names.items() if 'fracture' in name.lower()}
    if absent or not counted:
        raise AnnotationError(
            f'{file}: no category {absent or "with fracture in its name"}, there are '
            f'{list(names.values())}; name those that are fractures (--categories)'
        )
    return counted


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
    for index, annotation in enumerate(data['annotations']):
        if annotation['category_id'] not in counted:
            name = names[annotation['category_id']]
            conversion.leave_out(f'{name} boxes, another finding')
        elif annotation.get('iscrowd'):
            conversion.leave_out('boxes of a crowd')
        else:
            boxes[annotation['image_id']].append(_box(index, annotation, conversion))
    for index, image in enumerate(data['images']):
        location = f'images[{index}] (id {image["id"]}, {image["file_name"]})'
        mine = boxes.get(image['id'], [])
        label: int | None = 1 if mine else image.get('label', 0 if unboxed == 'negative' else None)
        if mine and image.get('label', 1) != 1:
            text = f'label {image["label"]}, but {len(mine)} fracture box(es)'
            conversion.problems.add(file, location, text)
            continue
        label = conversion.decide(label)
        if label is None:
            continue
        patient = str(image.get('patient_id', image['file_name']))
        if pattern is not None:
            match = pattern.search(image['file_name'])
            if match is None:
                conversion.problems.add(
                    file, location, f'no patient {pattern.pattern!r} in its name'
                )
                continue
            patient = match[1] if pattern.groups else match[0]
        size = (image['width'], image['height'])
        regions = bool(mine) and image.get('regions', True)
        source = conversion.options.source or image.get('source')
        yield ImageRow(
            file, location, (image['file_name'],), label, patient, regions, mine, size, source
        )


def _box(index: int, annotation: dict, conversion: Conversion) -> RawBox:
    x, y, width, height = annotation['bbox']
    outline = annotation.get('segmentation')
    polygon = outline[0] if isinstance(outline, list) and len(outline) == 1 else None
    if outline and polygon is None:
        conversion.changed['masks left out, their boxes kept'] += 1
    location = f'annotations[{index}]'
    return RawBox([x, y, x + width, y + height], location, annotation.get('site'), polygon)
