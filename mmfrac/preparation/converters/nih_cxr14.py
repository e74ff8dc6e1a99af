# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""NIH ChestX-ray14 with the fracture labels of Google's radiologists."""

import os
import re
from collections.abc import Iterator, Sequence

from mmfrac.datasets.labels import names_fracture
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import ImageRow, RawBox, read_patient

# The release holds all films in this size (px), and its boxes are drawn in it.
RELEASE_SIZE = (1024, 1024)

# Of its films: the patient, and which of the patient's it is.
NIH_NAME = re.compile(r'(\d{8})_\d{3}')

_NAME = ('Image Index', 'Image ID', 'image_id')
_PATIENT = ('Patient ID',)
_VIEW = ('View Position',)
_FINDING = 'fracture'


def convert_nih_cxr14(
    tables: Sequence[str | os.PathLike],
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    entries: str | os.PathLike | None = None,
    boxes: str | os.PathLike | None = None,
    split: str | None = None,
) -> ConversionSummary:
    """Convert Google's label tables of NIH films (Majkowska et al. 2019).

    Label 1: ``Fracture`` is YES; 0: NO. NIH's own labels (Wang et al. 2017) have no fracture class,
    and 'No Finding' among them does not mean that there is none: films that are in ``entries`` only
    have no label (``options.blank``). A patient is named as in the films' names, 00000013, as in
    ChestX-Det, so that splits of both keep patients together.

    Args:
        tables (Sequence[str or os.PathLike]): test_labels.csv, validation_labels.csv, or both in one.
        image_dir (str or os.PathLike): Folder with the films, flat or in the release's folders.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        entries (str or os.PathLike, optional): Data_Entry_2017.csv, for all films of the set.
            Defaults to None, the labelled films.
        boxes (str or os.PathLike, optional): Boxes in the form of BBox_List_2017.csv, px of the
            release. Those of 'Fracture' are taken, as complete; NIH's own list has none. Defaults to
            None.
        split (str, optional): Keep the films whose ``Set Id`` is this: 'test' or 'val'. Defaults to
            None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        AnnotationError: With all problems of the tables; nothing is written then.
    """
    conversion = Conversion(image_dir, out_file, options, 'nih_cxr14')
    columns = dict(name=_NAME, patient=_PATIENT, label=('Fracture',))
    optional = dict(view=_VIEW, split=('Set Id',))
    if split is not None:
        columns['split'] = optional.pop('split')
    labelled = [conversion.table(path, columns, optional) for path in tables]
    all_films = box_rows = None
    if entries is not None:
        all_films = conversion.table(entries, dict(name=_NAME, patient=_PATIENT), dict(view=_VIEW))
    if boxes is not None:
        corners = dict(x=('Bbox [x',), y=('y',), width=('w',), height=('h]',))
        box_rows = conversion.table(
            boxes, {'name': _NAME, 'finding': ('Finding Label',), **corners}
        )
    conversion.check_headers()
    found = _boxes(box_rows, conversion) if box_rows else {}
    box_name = box_rows.name if box_rows else ''
    return conversion.write(
        _image_rows(labelled, all_films, found, split, conversion, box_name), unique_names=True
    )


def nih_patient(text: str) -> str:
    """A patient's number as it stands in file names: 13 to 00000013.

    Raises:
        ValueError: If it is no number.
    """
    number = read_patient(text)
    if not (number.isascii() and number.isdecimal()):
        raise ValueError(f'patient id {text!r} is no number')
    return f'{int(number):08d}'


def _boxes(table: Table, conversion: Conversion) -> dict[str, dict[tuple, int]]:
    """Lines of the fracture boxes (xyxy), by film."""
    images: dict[str, dict[tuple, int]] = {}
    for line, (name, finding, *numbers) in table.rows():
        try:
            x, y, width, height = map(table.number, numbers)
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        if names_fracture(finding) and finding.lower() != _FINDING:
            text = f'finding {finding!r} is a fracture, but not written {_FINDING.capitalize()!r}'
            conversion.problems.add(table.name, line, text)
        elif finding.lower() != _FINDING:
            conversion.leave_out(f'{finding} boxes, another finding')
        elif images.setdefault(name, {}).setdefault((x, y, x + width, y + height), line) != line:
            conversion.leave_out(REPEATED)
    return images


def _image_rows(
    labelled: Sequence[Table],
    all_films: Table | None,
    boxes: dict[str, dict[tuple, int]],
    split: str | None,
    conversion: Conversion,
    box_name: str,
) -> Iterator[ImageRow]:
    known = set()
    listed: set[str] = set()
    for table in labelled:
        for line, fields in table.rows():
            row = dict(zip(table.keys, fields))
            known.add(row['name'])
            if split is not None and row['split'].lower() != split.lower():
                conversion.leave_out('in another split')
                continue
            if table.has('view') and not conversion.keeps_view(row['view']):
                continue
            label = conversion.label(row['label'], table.name, line)
            if label is not None:
                yield from _image_row(table, line, row, label, boxes, conversion)
    for line, fields in all_films.rows() if all_films is not None else ():
        assert all_films is not None
        row = dict(zip(all_films.keys, fields))
        listed.add(row['name'])
        if row['name'] in known:
            continue
        if all_films.has('view') and not conversion.keeps_view(row['view']):
            continue
        label = 1 if row['name'] in boxes else conversion.decide(None)
        if label is not None:
            yield from _image_row(all_films, line, row, label, boxes, conversion)
    if all_films is not None:
        names = (labelled[0].name, 'images'), (all_films.name, 'images')
        conversion.join(*names, known, listed)
    if boxes:
        lost = sorted(boxes.keys() - known - listed)
        if lost:
            text = f'{len(lost)} images with fracture boxes are in no other table, e.g. {lost[0]!r}'
            conversion.problems.add(box_name, 'all lines', text)


def _image_row(
    table: Table,
    line: int,
    row: dict[str, str],
    label: int,
    boxes: dict[str, dict[tuple, int]],
    conversion: Conversion,
) -> Iterator[ImageRow]:
    drawn = boxes.get(row['name'], {})
    try:
        if not row['name']:
            raise ValueError('no image name')
        patient = nih_patient(row['patient'])
        named = NIH_NAME.match(row['name'])
        if named and named[1] != patient:
            raise ValueError(f'patient {patient}, but the name {row["name"]} is of {named[1]}')
        if drawn and label != 1:
            raise ValueError(f'{row["name"]}: label {label}, but {len(drawn)} fracture box(es)')
    except ValueError as error:
        conversion.problems.add(table.name, line, str(error))
        return
    raw = [RawBox(list(box), f'box on line {at} of the boxes') for box, at in drawn.items()]
    names = (row['name'],)
    yield ImageRow(table.name, line, names, label, patient, bool(raw), raw, RELEASE_SIZE)
