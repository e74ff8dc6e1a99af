# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert the label and metadata tables of MIMIC-CXR(-JPG) to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters import convert_mimic_cxr
from mmfrac.preparation.converters.arguments import (
    add_suffix,
    add_views,
    converter_parser,
    options_of,
)
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/dataset_converters/mimic_cxr.py data/mimic-cxr-2.0.0-chexpert.csv.gz data \\
      data/annotations/mimic_train.json --metadata data/mimic-cxr-2.0.0-metadata.csv.gz \\
      --split-table data/mimic-cxr-2.0.0-split.csv.gz --split train
"""


def parse_args() -> argparse.Namespace:
    parser = converter_parser(
        __doc__,
        EXAMPLE,
        'table',
        'mimic-cxr-2.0.0-chexpert.csv.gz or -negbio.csv.gz',
        'folder that holds files/p10/...',
    )
    parser.add_argument('--metadata', required=True, help='mimic-cxr-2.0.0-metadata.csv.gz')
    parser.add_argument('--split-table', help='mimic-cxr-2.0.0-split.csv.gz, for --split')
    parser.add_argument('--split', help='keep this split only: train, validate or test')
    add_views(parser, 'PA, AP')
    add_suffix(parser, '.jpg')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    summary = convert_mimic_cxr(
        args.table,
        args.metadata,
        args.images,
        args.out,
        options_of(args),
        args.split_table,
        args.split,
    )
    print(summary)


if __name__ == '__main__':
    with plain_errors():
        main()
