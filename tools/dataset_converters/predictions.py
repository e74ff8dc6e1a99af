# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert what a model found (results.jsonl, predictions.json) to annotations that say so.

Images with a box get label 1 without complete boxes (P_pub), others an unknown label: what a model
says is nobody's truth. For corrections by people see mmfrac annotate.
"""

import argparse

from mmfrac.deployment.annotation import convert_found, read_found
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import check_not_an_input
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/dataset_converters/predictions.py found/results.jsonl data/images \\
      data/annotations/found.json --min-score 0.5"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'results', help='results.jsonl of mmfrac archive, predictions.json of infer'
    )
    parser.add_argument('images', help='folder that file names begin at')
    parser.add_argument('out', help='COCO JSON to write')
    parser.add_argument(
        '--min-score', type=float, default=0.5, help='of a box, in [0, 1], default 0.5'
    )
    parser.add_argument('--category', default='fracture', help='what the boxes are')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_not_an_input(args.out, args.results)
    counts = convert_found(
        read_found(args.results), args.out, args.images, args.min_score, args.category
    )
    print(printable(f'wrote {args.out}'))
    for name, number in counts.items():
        print(f'{name:12}{number:8}')


if __name__ == '__main__':
    with plain_errors():
        main()
