# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""MIMIC-CXR and MIMIC-CXR-JPG: labels a study, films and their views in a second table."""

import os
from collections.abc import Iterator

from mmfrac.preparation.converters.chexpert import label_of_study
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.file_finder import with_suffixes
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import (
    BLANKS,
    ImageRow,
    read_label,
    read_length,
    read_number_id,
)

_IMAGE = dict(dicom=('dicom_id',), subject=('subject_id',), study=('study_id',))


def convert_mimic_cxr(
    labels: str | os.PathLike,
    metadata: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    split_table: str | os.PathLike | None = None,
    split: str | None = None,
) -> ConversionSummary:
    """Convert MIMIC-CXR-JPG (Johnson et al. 2019), or MIMIC-CXR with its tables.

    The films of ``metadata`` get the label of their study, as in :func:`convert_chexpert`; studies
    without a row in ``labels`` have no label. The patient is ``subject_id``.

    Args:
        labels (str or os.PathLike): mimic-cxr-2.0.0-chexpert.csv.gz or -negbio.csv.gz.
        metadata (str or os.PathLike): mimic-cxr-2.0.0-metadata.csv.gz.
        image_dir (str or os.PathLike): Folder that holds files/p10/..., or the films in another order.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        split_table (str or os.PathLike, optional): mimic-cxr-2.0.0-split.csv.gz. Defaults to None.
        split (str, optional): Keep the films of this split: 'train', 'validate' or 'test'. Defaults to
            None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If only one of ``split_table`` and ``split`` is given.
        AnnotationError: With all problems of the tables; nothing is written then.
    """
    if (split_table is None) != (split is None):
        raise ValueError('split_table and split go together: give both or none')
    conversion = Conversion(image_dir, out_file, options, 'mimic_cxr')
    label_rows = conversion.table(
        labels,
        dict(subject=('subject_id',), study=('study_id',), label=('Fracture',)),
        dict(healthy=('No Finding',)),
    )
    images = conversion.table(
        metadata, {**_IMAGE, 'view': ('ViewPosition',)}, dict(rows=('Rows',), columns=('Columns',))
    )
    splits = None
    if split_table is not None:
        splits = conversion.table(split_table, dict(dicom=('dicom_id',), split=('split',)))
    conversion.check_headers()
    studies = _labels_of_studies(label_rows, conversion)
    wanted = None if splits is None else _images_of_split(splits, str(split), conversion)
    image_rows = _image_rows(images, studies, wanted, conversion, label_rows.name, splits)
    return conversion.write(image_rows, unique_names=True)


def _labels_of_studies(table: Table, conversion: Conversion) -> dict[tuple[str, str], str]:
    studies: dict[tuple[str, str], str] = {}
    for line, (subject, study, text, healthy) in table.rows():
        try:
            subject, study = read_number_id(subject), read_number_id(study)
            label = label_of_study(text, healthy)
            read_label(label)
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        if studies.setdefault((subject, study), label) != label:
            text = f'study {study} of subject {subject} is there twice, with other labels'
            conversion.problems.add(table.name, line, text)
    return studies


def _images_of_split(table: Table, split: str, conversion: Conversion) -> dict[str, bool]:
    """Whether each image of the split table is in the split."""
    images: dict[str, bool] = {}
    names: set[str] = set()
    for line, (dicom, name) in table.rows():
        names.add(name)
        if images.setdefault(dicom, name == split) != (name == split):
            text = f'{dicom} is there twice, with other splits'
            conversion.problems.add(table.name, line, text)
    if not any(images.values()) and names:
        valid = ', '.join(sorted(names)[:10])
        conversion.problems.add(table.name, 'split', f'no film in {split!r}; there are {valid}')
    return images


def _image_rows(
    table: Table,
    studies: dict[tuple[str, str], str],
    wanted: dict[str, bool] | None,
    conversion: Conversion,
    labels: str,
    splits: Table | None,
) -> Iterator[ImageRow]:
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    sizes = conversion.options.size == 'table'
    for line, (dicom, subject, study, view, height, width) in table.rows():
        absent = [name for name, text in zip(_IMAGE, (dicom, subject, study)) if text in BLANKS]
        if absent:
            conversion.problems.add(table.name, line, f'no {absent[0]} id')
            continue
        try:
            key = (read_number_id(subject), read_number_id(study))
        except ValueError as error:
            conversion.problems.add(table.name, line, f'subject_id, study_id: {error}')
            continue
        subject, study = key
        found.add(key)
        if wanted is not None:
            seen.add(dicom)
        if wanted is not None and not wanted.get(dicom, False):
            conversion.leave_out('in another split')
            continue
        if not conversion.keeps_view(view):
            continue
        label = conversion.label(studies.get(key, ''), table.name, line)
        if label is None:
            continue
        try:
            size = (read_length(width), read_length(height)) if sizes else None
        except ValueError as error:
            conversion.problems.add(table.name, line, f'Columns, Rows: {error}')
            continue
        folder = f'files/p{subject[:2]}/p{subject}/s{study}/{dicom}'
        names = with_suffixes(folder, '.jpg', conversion.options.suffix)
        yield ImageRow(table.name, line, names, label, subject, size=size)
    conversion.join((labels, 'studies'), (table.name, 'studies'), studies.keys(), found)
    if wanted is not None and splits is not None:
        conversion.join((splits.name, 'images'), (table.name, 'images'), wanted.keys(), seen)
