# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A plain CSV: a row a film, or a row a box."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import REPEATED, Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions, Size
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import (
    BLANKS,
    ImageRow,
    RawBox,
    read_label,
    read_length,
    read_patient,
)

WANTED = {'path': ('path', 'file_name', 'filename', 'image'), 'label': ('label',)}
BOX = ('x1', 'y1', 'x2', 'y2')
_OPTIONAL = {
    'patient_id': ('patient_id',),
    **{name: (name,) for name in BOX},
    'site': ('site',),
    'view': ('view',),
    'source': ('source',),
    'width': ('width',),
    'height': ('height',),
}


@dataclass(slots=True)
class _Image:
    """Rows of one film."""

    line: int
    label: int | None
    patient: str | None
    source: str
    view: str
    size: Size | None
    boxes: dict[tuple, int] = field(default_factory=dict)
    # first row with label 1 and no box
    unboxed: int | None = None


def convert_csv(
    table: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    columns: Mapping[str, str] | None = None,
) -> ConversionSummary:
    """Convert a CSV with ``path`` and ``label``, and optionally ``patient_id``, ``x1, y1, x2, y2`` (px).

    A film with several boxes has several rows. A film with label 1 has complete regions if it has a
    box; without one, its boxes are unknown. Both in one film, a row with a box and one with label 1
    and no box, are refused. The columns ``site`` (of a box), ``view``, ``source``,
    ``width`` and ``height`` (px) are read where they are; columns that look like boxes in another form
    are refused. Without ``patient_id`` the films have no patient.

    Args:
        table (str or os.PathLike): The CSV.
        image_dir (str or os.PathLike): Folder that paths are relative to.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        columns (Mapping[str, str], optional): Other names of columns, e.g. ``dict(label='fx')``.
            Defaults to None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If ``columns`` renames a column that does not exist.
        AnnotationError: With all problems of the table; nothing is written then.
    """
    wanted: dict[str, tuple[str, ...]] = dict(WANTED)
    optional: dict[str, tuple[str, ...]] = dict(_OPTIONAL)
    for name, other in (columns or {}).items():
        if name not in wanted and name not in optional:
            raise ValueError(f'column {name!r} is none of {[*wanted, *optional]}')
        optional.pop(name, None)
        wanted[name] = (other,)
    frontal = ('pa', 'ap', 'frontal')
    conversion = Conversion(image_dir, out_file, options, 'csv', frontal)
    rows = conversion.table(table, wanted, optional, renamable=True)
    corners = check_corners(rows, conversion)
    conversion.check_headers()
    if not corners:
        return conversion.write(_single_rows(rows, conversion))
    images = _read(rows, conversion)
    image_rows = (
        row for path in images for row in _image_rows(rows, path, images[path], conversion)
    )
    return conversion.write(image_rows, len(images))


# Columns of boxes in another form than x1, y1, x2, y2: small letters and digits of their names.
_OTHER_BOXES = frozenset(
    (
        *('x', 'y', 'w', 'h', 'x0', 'y0', 'x1', 'y1', 'x2', 'y2', 'xmin', 'ymin', 'xmax', 'ymax'),
        *(
            'minx',
            'miny',
            'maxx',
            'maxy',
            'left',
            'top',
            'right',
            'bottom',
            'startx',
            'starty',
            'endx',
        ),
        *('endy', 'cx', 'cy', 'xc', 'yc', 'xcenter', 'ycenter', 'centerx', 'centery', 'xtl', 'ytl'),
        *('xbr', 'ybr', 'bbox', 'bboxes', 'box', 'boxes', 'boundingbox', 'boundingboxes', 'rect'),
        *('coordinates', 'coords', 'polygon', 'polygons', 'contour', 'segmentation', 'rle'),
        *('encodedpixels', 'upperleftx', 'upperlefty', 'lowerrightx', 'lowerrighty'),
    )
)

_BOX_WORD = re.compile(r'^(?:bounding)?b?box(?=.)')


def _is_of_box(column: str) -> bool:
    """Whether a column may hold boxes: Box_XMin, 'x 1 (px)', 'Bbox [x', 'bbox_width', polygon, ..."""
    key = re.sub(r'\(px\)|\[px\]|[^a-z0-9]', '', column.lower())
    bare = _BOX_WORD.sub('', key)
    return (
        key in _OTHER_BOXES or bare in _OTHER_BOXES or (bare != key and bare in ('width', 'height'))
    )


def check_corners(table: Table, conversion: Conversion) -> list[str]:
    """Which of ``BOX`` a table has; some of them only, or boxes in another form, are a problem.

    Args:
        table (Table): With ``BOX`` among its columns.
        conversion (Conversion): Takes the problem.
    """
    corners = [name for name in BOX if table.has(name)]
    others = [name for name in table.unread if _is_of_box(name)]
    if corners and len(corners) < len(BOX):
        conversion.problems.add(table.name, 'header', f'of {BOX} there is only {tuple(corners)}')
    elif others and not corners:
        also = [name for name in ('width', 'height') if table.has(name)]
        text = (
            f'columns {", ".join(map(repr, others + also))} look like boxes in another form than x1, '
            'y1, x2, y2 (px), and would be lost: write corners (x2 = x + width, y2 = y + height), or '
            'name the columns that are corners (--column x1=xmin ...); drop them if they are no boxes'
        )
        conversion.problems.add(table.name, 'header', text)
    return corners


def _single_rows(table: Table, conversion: Conversion) -> Iterator[ImageRow]:
    """A row a film: streamed."""
    for line, fields in table.rows():
        row = dict(zip(table.keys, fields))
        try:
            image = _parse(table, line, row)
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        yield from _image_rows(table, posixpath.normpath(row['path']), image, conversion)


def _parse(table: Table, line: int, row: dict[str, str]) -> _Image:
    if not row['path']:
        raise ValueError('no path')
    size = None
    if row['width'] or row['height']:
        size = (read_length(row['width']), read_length(row['height']))
    patient = read_patient(row['patient_id']) if table.has('patient_id') else None
    source = '' if row['source'].lower() in BLANKS else row['source']
    return _Image(line, read_label(row['label']), patient, source, row['view'], size)


def _read(table: Table, conversion: Conversion) -> dict[str, _Image]:
    """Films by path, in the order of the table, with the boxes of all their rows."""
    images: dict[str, _Image] = {}
    for line, fields in table.rows():
        row = dict(zip(table.keys, fields))
        try:
            new = _parse(table, line, row)
            box = _box([row[name] for name in BOX], table)
            if box and new.label not in (1, None):
                raise ValueError(f'label {new.label}, but a box; a film with a fracture box has 1')
            says_unboxed = new.label == 1 and not box
            new.label = 1 if box else new.label
            image = images.setdefault(posixpath.normpath(row['path']), new)
            # a blank label says nothing against that of the film's other rows
            image.label = new.label if image.label is None else image.label
            new.label = image.label if new.label is None else new.label
            _compare(image, new)
            if says_unboxed:
                image.unboxed = image.unboxed or line
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        if box:
            site = '' if row['site'].lower() in BLANKS else row['site']
            first = image.boxes.setdefault((*box, site), line)
            if first != line:
                conversion.leave_out(REPEATED)
        elif image.line != line:
            conversion.leave_out(REPEATED)
    for image in images.values():
        if image.boxes and image.unboxed:
            conversion.problems.add(table.name, image.unboxed, unboxed_fault(image.boxes))
    return images


def unboxed_fault(boxes: Mapping[tuple, int]) -> str:
    """What is wrong with a row with label 1 and no box of a film that has boxes.

    Args:
        boxes (Mapping[tuple, int]): Line of each box.
    """
    return (
        f'label 1 without a box, but a box of the same film on line {min(boxes.values())}: leave this '
        'label blank if the boxes are all of its fractures, else leave the boxes out'
    )


def _compare(image: _Image, row: _Image) -> None:
    for name in ('label', 'patient', 'source', 'view', 'size'):
        old, new = getattr(image, name), getattr(row, name)
        if old != new:
            raise ValueError(f'{name} {new!r}, but {old!r} for the same film on line {image.line}')


def _box(texts: list[str], table: Table) -> tuple[float, ...] | None:
    blank = [text.lower() in BLANKS for text in texts]
    if all(blank):
        return None
    if any(blank):
        raise ValueError(f'a box is x1, y1, x2, y2 (px), got {texts}')
    return tuple(map(table.number, texts))


def _image_rows(
    table: Table, path: str, image: _Image, conversion: Conversion
) -> Iterator[ImageRow]:
    if table.has('view') and not conversion.keeps_view(image.view):
        return
    label = conversion.decide(image.label)
    if label is None:
        return
    boxes = [RawBox(list(box), line, site or None) for (*box, site), line in image.boxes.items()]
    source = image.source or None
    yield ImageRow(
        table.name,
        image.line,
        (path,),
        label,
        image.patient,
        bool(boxes),
        boxes,
        image.size,
        source,
    )
