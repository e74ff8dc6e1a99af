# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert a label table of CheXpert to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_chexpert
from mmfrac.preparation.converters.arguments import add_views, converter_parser, options_of
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/chexpert.py data/CheXpert-v1.0-small/train.csv \\
      data data/annotations/chexpert_train.json --missing drop
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'train.csv, valid.csv or a table like them',
        'folder that holds CheXpert-v1.0-small/, or that folder',
    )
    add_views(parser, 'Frontal')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(convert_chexpert(args.table, args.images, args.out, options_of(args)))


if __name__ == '__main__':
    with plain_errors():
        main()
