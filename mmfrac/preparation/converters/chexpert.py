# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""CheXpert: labels of a report labeller, a row a film."""

import os
import posixpath
import re
from collections.abc import Iterator

from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import ImageRow, read_label

_PATIENT = re.compile(r'(?:^|[/\\])(patient\w+)[/\\]')
_VIEW = re.compile(r'_(frontal|lateral)\.\w+$')


def convert_chexpert(
    table: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
) -> ConversionSummary:
    """Convert a label table of CheXpert (Irvin et al. 2019): train.csv, valid.csv, train_cheXbert.csv.

    ``Fracture`` is 1, 0, -1 (uncertain) or blank: not mentioned in the report. A blank counts as no
    fracture where ``No Finding`` is 1, else as ``options.blank`` says. The patient is the folder
    ``patientNNNNN`` of the path. The labels are of any fracture that a report mentions, without its
    site, and of a study: both views of it have the same.

    Args:
        table (str or os.PathLike): CSV with ``Path`` and ``Fracture``.
        image_dir (str or os.PathLike): Folder below which the paths of the table, or their ends, lie.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        AnnotationError: With all problems of the table; nothing is written then.
    """
    conversion = Conversion(image_dir, out_file, options, 'chexpert', frontal=('frontal',))
    rows = conversion.table(
        table,
        dict(path=('Path',), label=('Fracture',)),
        dict(view=('Frontal/Lateral',), healthy=('No Finding',)),
    )
    conversion.check_headers()
    return conversion.write(_image_rows(rows, conversion))


def label_of_study(label: str, healthy: str) -> str:
    """'Fracture' of a labelled report; '0' for a blank one whose 'No Finding' is 1."""
    return '0' if not label and read_label(healthy) == 1 else label


def _image_rows(table: Table, conversion: Conversion) -> Iterator[ImageRow]:
    for line, (path, text, view, healthy) in table.rows():
        patient = _PATIENT.search(posixpath.normpath(path))
        if patient is None:
            conversion.problems.add(table.name, line, f'no folder patientNNNNN in path {path!r}')
            continue
        if not table.has('view'):
            named = _VIEW.search(path)
            view = named[1] if named else ''
        try:
            text = label_of_study(text, healthy)
        except ValueError as error:
            conversion.problems.add(table.name, line, f'No Finding: {error}')
            continue
        if conversion.keeps_view(view):
            label = conversion.label(text, table.name, line)
            if label is not None:
                yield ImageRow(table.name, line, (path,), label, patient[1])
