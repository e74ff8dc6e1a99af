# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PadChest: English finding names in a Python list, a row a film."""

import ast
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from mmfrac.datasets.labels import names_fracture
from mmfrac.preparation.converters.coco_writer import ConversionSummary
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.tables.table import Table
from mmfrac.preparation.tables.values import BLANKS, ImageRow, read_length, read_patient

_FRACTURES = frozenset({'rib fracture', 'callus rib fracture', 'clavicle fracture'})
OTHER_FRACTURES = {'humeral': 'humeral fracture', 'vertebral': 'vertebral fracture'}

# A fracture somewhere: ribs, clavicles, or a bone that does not count.
_UNSPECIFIED = 'fracture'
# Says that the film is as an earlier one was, and of that nothing.
_UNCHANGED = 'unchanged'
_EXCLUDED = 'exclude'
_FRONTAL = ('pa', 'ap', 'ap_horizontal')
_LONGEST = 10_000

# A quoted name without escapes but those of a quote or a backslash, and a list of them.
_QUOTED = r"""(?:'(?:[^'\\\n]|\\['"\\])*'|"(?:[^"\\\n]|\\['"\\])*")"""
_NAME = re.compile(_QUOTED)
_LIST = re.compile(rf'\[\s*(?:{_QUOTED}(?:(?:\s*,\s*|\s+){_QUOTED})*(?:\s*,)?)?\s*\]')


def convert_padchest(
    table: str | os.PathLike,
    image_dir: str | os.PathLike,
    out_file: str | os.PathLike,
    options: ConvertOptions | None = None,
    also: Sequence[str] = (),
    physician_only: bool = False,
) -> ConversionSummary:
    """Convert the label table of PadChest (Bustos et al. 2019).

    Label 1: 'rib fracture', 'callus rib fracture' or 'clavicle fracture' is among the film's labels.
    'fracture' alone, without a site, is uncertain. Label 0: the labels name none of these. A film
    without labels, or with 'unchanged' alone, has no label (``options.blank``); films labelled
    'exclude' are left out. Some names of the release begin with a blank, which does not matter.

    Args:
        table (str or os.PathLike): PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.
        image_dir (str or os.PathLike): Folder with the films, flat or in the release's folders.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        also (Sequence[str]): Of 'humeral' and 'vertebral', the fractures that count, too. Defaults to
            none.
        physician_only (bool): Leave out the films whose labels a network read from the report.
            Defaults to False.

    Returns:
        ConversionSummary: The counts.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If ``also`` has another name.
        AnnotationError: With all problems of the table; nothing is written then.
    """
    unknown = sorted(set(also) - set(OTHER_FRACTURES))
    if unknown:
        raise ValueError(f'also {unknown} is none of {list(OTHER_FRACTURES)}')
    conversion = Conversion(image_dir, out_file, options, 'padchest', frontal=_FRONTAL)
    wanted = dict(
        name=('ImageID',), patient=('PatientID',), view=('Projection',), labels=('Labels',)
    )
    optional = dict(
        folder=('ImageDir',),
        method=('MethodLabel',),
        rows=('Rows_DICOM',),
        columns=('Columns_DICOM',),
    )
    if physician_only:
        wanted['method'] = optional.pop('method')
    rows = conversion.table(table, wanted, optional)
    conversion.check_headers()
    counted = _FRACTURES | {OTHER_FRACTURES[name] for name in also}
    image_rows = _image_rows(rows, conversion, counted, physician_only)
    return conversion.write(image_rows, unique_names=True)


@lru_cache(maxsize=8192)
def read_findings(text: str) -> frozenset[str]:
    """Findings of a film.

    Args:
        text (str): A Python list of names, the text of a NumPy array of them (no commas), or blank.

    Returns:
        frozenset[str]: Names in lower case, without outer blanks; empty for a film without labels.

    Raises:
        ValueError: If it is no list of names.
    """
    if text.lower() in BLANKS:
        return frozenset()
    if len(text) >= _LONGEST or not _LIST.fullmatch(text):
        raise ValueError(
            f"labels {text[:60]!r} are no list of names, as ['rib fracture', 'nodule']"
        )
    # a quoted literal cannot run anything
    findings = [ast.literal_eval(found[0]) for found in _NAME.finditer(text)]
    return frozenset(name.strip().lower() for name in findings) - {''}


def _label_of_findings(findings: frozenset[str], counted: frozenset[str]) -> int | None:
    """1, 0, -1 (uncertain) or None (no label) of a film with these findings."""
    if findings & counted:
        return 1
    if _UNSPECIFIED in findings or _unknown_fractures(findings):
        return -1
    return None if findings <= {_UNCHANGED} else 0


def _unknown_fractures(findings: frozenset[str]) -> list[str]:
    """Findings that are fractures by their names, which the set's vocabulary does not have."""
    known = {*_FRACTURES, *OTHER_FRACTURES.values(), _UNSPECIFIED}
    return sorted(name for name in findings - known if names_fracture(name))


def _image_rows(
    table: Table, conversion: Conversion, counted: frozenset[str], physician_only: bool
) -> Iterator[ImageRow]:
    sizes = conversion.options.size == 'table'
    for line, fields in table.rows():
        row = dict(zip(table.keys, fields))
        try:
            if not row['name']:
                raise ValueError('no ImageID')
            patient = read_patient(row['patient'])
            findings = read_findings(row['labels'])
            size = (read_length(row['columns']), read_length(row['rows'])) if sizes else None
        except ValueError as error:
            conversion.problems.add(table.name, line, str(error))
            continue
        if not conversion.keeps_view(row['view']):
            continue
        if physician_only and row['method'].lower() != 'physician':
            conversion.leave_out('not labelled by a physician')
            continue
        if _EXCLUDED in findings:
            conversion.leave_out("labelled 'exclude'")
            continue
        for name in _unknown_fractures(findings):
            conversion.noted[
                f'films with {name[:40]!r}, a fracture of no known site: uncertain'
            ] += 1
        label = conversion.decide(_label_of_findings(findings, counted))
        if label is None:
            continue
        for other in OTHER_FRACTURES.values():
            if label == 0 and other in findings:
                conversion.changed[f'{other}, taken as none'] += 1
        names = tuple(dict.fromkeys([row['name'], f'{row["folder"]}/{row["name"]}'.lstrip('/')]))
        yield ImageRow(table.name, line, names, label, patient, size=size)
