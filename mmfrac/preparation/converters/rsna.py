# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""RSNA pneumonia challenge: films without a fracture label, and which of them are normal."""

import os
from collections.abc import Iterator
from typing import Any

from mmfrac.datasets.coco_checks import read_annotations
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.file_finder import with_suffixes
from mmfrac.preparation.converters.nih_cxr14 import RELEASE_SIZE, nih_patient
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import ImageRow, read_label
from mmfrac.utils.errors import AnnotationError

_NORMAL = 'normal'
_CLASSES = (_NORMAL, 'lung opacity', 'no lung opacity / not normal')


def convert_rsna(
    table: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    classes: str | os.PathLike | None = None,
    nih_names: str | os.PathLike | None = None,
) -> ConversionSummary:
    """Convert the label table of the RSNA pneumonia challenge (Shih et al. 2019).

    The set has no fracture label, and its boxes are of lung opacities. With ``classes`` the films that
    the radiologists read as 'Normal' become label 0, a source of clean negatives; all others have no
    label (``options.blank``). The films are NIH's: with ``nih_names`` the patients are NIH's, so that
    splits with NIH films keep patients together; without it every film is a patient, although some
    have several films.

    Args:
        table (str or os.PathLike): stage_2_train_labels.csv.
        image_dir (str or os.PathLike): Folder with the films, PATIENTID.dcm, .png, ...
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        classes (str or os.PathLike, optional): stage_2_detailed_class_info.csv. Defaults to None.
        nih_names (str or os.PathLike, optional): pneumonia-challenge-dataset-mappings_2018.json.
            Defaults to None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        AnnotationError: With all problems of the tables; nothing is written then.
    """
    conversion = Conversion(image_dir, out_file, options, 'rsna')
    corners = dict(x=('x',), y=('y',), width=('width',), height=('height',))
    rows = conversion.table(table, dict(patient=('patientId',), target=('Target',)), corners)
    class_rows = None
    if classes is not None:
        class_rows = conversion.table(classes, dict(patient=('patientId',), name=('class',)))
    conversion.check_headers()
    kinds = _kinds_of_images(class_rows, conversion) if class_rows else {}
    normal = {name for name, kind in kinds.items() if kind == _NORMAL}
    patients = _nih_patients(nih_names, conversion) if nih_names is not None else {}
    images = _read(rows, conversion)
    here = (rows.name, 'images')
    if class_rows is not None:
        conversion.join(here, (class_rows.name, 'images'), images.keys(), kinds.keys())
    if nih_names is not None:
        map_name = os.path.basename(os.fspath(nih_names))
        conversion.join(here, (map_name, 'images'), images.keys(), patients.keys())
    return conversion.write(
        _image_rows(rows.name, images, normal, patients, conversion), len(images), unique_names=True
    )


def _kinds_of_images(table: Table, conversion: Conversion) -> dict[str, str]:
    images: dict[str, str] = {}
    for line, (name, kind) in table.rows():
        if kind.lower() not in _CLASSES:
            text = f'class {kind!r} is none of {list(_CLASSES)}'
            conversion.problems.add(table.name, line, text)
        elif images.setdefault(name, kind.lower()) != kind.lower():
            text = f'{name} has two classes, {images[name]!r} and {kind!r}'
            conversion.problems.add(table.name, line, text)
    return images


def _nih_patients(path: str | os.PathLike, conversion: Conversion) -> dict[str, str]:
    """NIH patient of each film of the challenge."""
    file = os.fspath(path)
    conversion.reads(file)
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no name map '{file}'")
    records: Any = read_annotations(file)
    if not isinstance(records, list):
        raise AnnotationError(f'{file}: a list of records is wanted, with subset_img_id and img_id')
    patients: dict[str, str] = {}
    for index, record in enumerate(records):
        try:
            name, patient = record['subset_img_id'], nih_patient(record['img_id'].split('_')[0])
            if patients.setdefault(name, patient) != patient:
                text = f'{name} has two patients, {patients[name]} and {patient}'
                conversion.problems.add(os.path.basename(file), f'records[{index}]', text)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            text = (
                f'no subset_img_id with the img_id of an NIH film, as 00000013_005.png ({error!r})'
            )
            conversion.problems.add(os.path.basename(file), f'records[{index}]', text)
    return patients


def _read(table: Table, conversion: Conversion) -> dict[str, tuple[int, int | None]]:
    """First line and target of each film, in the order of the table."""
    images: dict[str, tuple[int, int | None]] = {}
    for line, (name, target, *numbers) in table.rows():
        try:
            if not name:
                raise ValueError('no patientId')
            label = read_label(target)
            has_box = any(numbers)
            for text in numbers if has_box else ():
                table.number(text)
            first, known = images.setdefault(name, (line, label))
            if known != label:
                raise ValueError(f'{name} has Target {known} on line {first} and {label} here')
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        if has_box:
            conversion.leave_out('Lung opacity boxes, another finding')
        elif first != line:
            conversion.leave_out('repeated row')
    return images


def _image_rows(
    table: str,
    images: dict[str, tuple[int, int | None]],
    normal: set[str],
    patients: dict[str, str],
    conversion: Conversion,
) -> Iterator[ImageRow]:
    for name, (line, target) in images.items():
        if target == 1 and name in normal:
            text = f"{name} has Target 1, but the class 'Normal': are both tables of one set?"
            conversion.problems.add(table, line, text)
            continue
        label = conversion.decide(0 if name in normal else None)
        if label is None:
            continue
        if patients and name not in patients:
            conversion.problems.add(table, line, f'{name} is not in the name map')
            continue
        patient = patients.get(name)
        names = with_suffixes(name, '.dcm', conversion.options.suffix)
        yield ImageRow(table, line, names, label, patient, size=RELEASE_SIZE)
