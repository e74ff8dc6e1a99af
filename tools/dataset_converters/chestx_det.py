# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert ChestX-Det or ChestX-Det10 annotations to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_chestx_det
from mmfrac.preparation.converters.arguments import converter_parser, options_of
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/chestx_det.py data/chestx_det/ChestX_Det_train.json \\
      data/chestx_det/train data/chestx_det/annotations/train.json --names data/manifest.csv
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'annotations',
        'ChestX-Det JSON (file_name, syms, boxes, polygons)',
        'folder with the films, under ChestX-Det or NIH names',
    )
    parser.add_argument(
        '--names',
        metavar='CSV',
        help='file-name map with columns nih_name and det_name; gives the patients, too',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_chestx_det(
        args.annotations, args.images, args.out, args.names, options=options_of(args)
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
