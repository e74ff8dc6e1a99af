# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert any COCO JSON to mmfrac's: categories, labels, patients."""

import argparse

from mmfrac.preparation.converters import convert_coco
from mmfrac.preparation.converters.arguments import converter_parser, options_of
from mmfrac.preparation.converters.plain_coco import UNBOXED
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/plain_coco.py data/instances.json data/images \\
      data/annotations/train.json --categories "rib fracture" --patient-pattern "^(P\\d+)_"
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'annotations',
        'COCO JSON',
        'folder that its file names are relative to',
    )
    parser.add_argument(
        '--categories',
        nargs='+',
        metavar='NAME',
        help="categories that are fractures (default: those with 'fracture' in their name)",
    )
    parser.add_argument(
        '--unboxed',
        choices=UNBOXED,
        default='negative',
        help='label of films without a fracture box and without a label (%(default)s)',
    )
    parser.add_argument(
        '--patient-pattern',
        metavar='REGEX',
        help='its first group is the patient in a file name (default: patient_id of the file)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_coco(
        args.annotations,
        args.images,
        args.out,
        options_of(args),
        args.categories,
        args.unboxed,
        args.patient_pattern,
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
