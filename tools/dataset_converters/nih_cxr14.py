# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert NIH ChestX-ray14 with Google's fracture labels to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_nih_cxr14
from mmfrac.preparation.converters.arguments import add_views, converter_parser, options_of
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/nih_cxr14.py data/validation_labels.csv data/images \\
      data/annotations/nih.json --more data/test_labels.csv --entries data/Data_Entry_2017.csv
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        "Google's validation_labels.csv or test_labels.csv (four findings)",
        'folder with the films, flat or in images_001/images/, ...',
    )
    parser.add_argument(
        '--more', nargs='+', default=[], metavar='CSV', help='further tables of this kind'
    )
    parser.add_argument(
        '--entries',
        metavar='CSV',
        help='Data_Entry_2017.csv: adds the films without a fracture label',
    )
    parser.add_argument(
        '--boxes',
        metavar='CSV',
        help='fracture boxes in the form of BBox_List_2017.csv (which has none itself)',
    )
    parser.add_argument('--split', help="keep this 'Set Id' only: val or test")
    add_views(parser, 'PA, AP')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_nih_cxr14(
        [args.table, *args.more],
        args.images,
        args.out,
        options_of(args),
        args.entries,
        args.boxes,
        args.split,
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
