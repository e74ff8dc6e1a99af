# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert the box table of VinDr-CXR to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_vindr_cxr
from mmfrac.preparation.converters.arguments import add_suffix, converter_parser, options_of
from mmfrac.preparation.converters.vindr_cxr import FUSE, MERGE
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/vindr_cxr.py data/annotations/annotations_train.csv data/train \\
      data/annotations/vindr_train.json --merge majority --iou 0.4
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'annotations_train.csv, annotations_test.csv, or train.csv of the challenge',
        'folder with the films, IMAGE_ID.dicom, .png, ...',
    )
    readers = parser.add_argument_group('readers')
    readers.add_argument(
        '--merge',
        choices=MERGE,
        default='majority',
        help="how many of a film's readers must have marked a fracture (%(default)s)",
    )
    readers.add_argument(
        '--iou', type=float, default=0.4, help='overlap of boxes that are one lesion (%(default)s)'
    )
    readers.add_argument(
        '--fuse', choices=FUSE, default='mean', help='how its boxes become one (%(default)s)'
    )
    parser.add_argument(
        '--sizes',
        metavar='CSV',
        help='sizes of the original films (train_meta.csv: image_id, dim0, dim1), to scale the boxes '
        'to resized films',
    )
    add_suffix(parser, '.dicom')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_vindr_cxr(
        args.table,
        args.images,
        args.out,
        options_of(args),
        args.merge,
        args.iou,
        args.fuse,
        args.sizes,
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
