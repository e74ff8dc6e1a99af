# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert a CSV (path, label, patient_id, x1, y1, x2, y2) to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_csv
from mmfrac.preparation.converters.arguments import (
    add_columns,
    add_views,
    columns_of,
    converter_parser,
    options_of,
)
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/plain_csv.py data/films.csv data/images \\
      data/annotations/train.json --column label=fracture --column patient_id=pid
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'CSV with path and label; also read: patient_id, x1, y1, x2, y2, site, view, source, '
        'width, height',
        'folder that paths are relative to',
    )
    add_columns(parser)
    add_views(parser, 'PA, AP, frontal; where there is a column view')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(convert_csv(args.table, args.images, args.out, options_of(args), columns_of(args)))


if __name__ == '__main__':
    with plain_errors():
        main()
