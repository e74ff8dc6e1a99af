# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert the RSNA pneumonia challenge (no fracture label) to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_rsna
from mmfrac.preparation.converters.arguments import add_suffix, converter_parser, options_of
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/rsna.py data/stage_2_train_labels.csv data/stage_2_train_images \\
      data/annotations/rsna.json --classes data/stage_2_detailed_class_info.csv
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'stage_2_train_labels.csv',
        'folder with the films, PATIENTID.dcm, .png, ...',
    )
    parser.add_argument(
        '--classes',
        metavar='CSV',
        help="stage_2_detailed_class_info.csv: films read as 'Normal' become label 0",
    )
    parser.add_argument(
        '--nih-names',
        metavar='JSON',
        help='pneumonia-challenge-dataset-mappings_2018.json: the patients become those of NIH',
    )
    add_suffix(parser, '.dcm')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_rsna(
        args.table, args.images, args.out, options_of(args), args.classes, args.nih_names
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
