# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert the label table of PadChest to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_padchest
from mmfrac.preparation.converters.arguments import add_views, converter_parser, options_of
from mmfrac.preparation.converters.padchest import OTHER_FRACTURES
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/padchest.py \\
      data/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv data/images \\
      data/annotations/padchest.json --also humeral
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv',
        'folder with the films, flat or in folders 0 to 54',
    )
    parser.add_argument(
        '--also',
        nargs='+',
        choices=list(OTHER_FRACTURES),
        default=[],
        help='fractures that count besides those of ribs and clavicles',
    )
    parser.add_argument(
        '--physician-only',
        action='store_true',
        help='leave out films whose labels a network read from the report',
    )
    add_views(parser, 'PA, AP, AP_horizontal')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_padchest(
        args.table, args.images, args.out, options_of(args), args.also, args.physician_only
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
