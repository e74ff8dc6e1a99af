# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings as DICOM objects: secondary capture, presentation state, structured report, segmentation.

Of each scored DICOM image of a results.jsonl; all objects belong to the study of their image. Made again
they are the same objects, so that an archive does not double them. Objects that an earlier run wrote to
the folder are removed where new ones of the same image, model and kind, at another threshold or with or
without a prob map, take their place. For research use only.
"""

import argparse
import sys

from mmfrac.deployment.object_kinds import OBJECT_KINDS
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable, printable_line

EXAMPLE = """example:
  python tools/deployment/dicom_objects.py found/results.jsonl --out objects \\
      --package ours.mmfrac"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', help='results.jsonl, as mmfrac archive writes it')
    parser.add_argument('--out', required=True, help='folder for the objects')
    parser.add_argument('--images', help='folder that relative paths of the results begin in')
    parser.add_argument(
        '--package', help='the model of the results: computes the prob maps, as the node has them'
    )
    parser.add_argument(
        '--maps',
        help='folder of prob maps (.npz of mmfrac infer --save-maps), in the place of that',
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        choices=OBJECT_KINDS,
        default=list(OBJECT_KINDS),
        help='which objects, default all',
    )
    parser.add_argument(
        '--threshold',
        type=float,
        help='in (0, 1], default: that of the operating point, 0.2 without one',
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from mmfrac.deployment.dicom_objects.write import write_objects

    written = write_objects(
        args.results, args.out, args.images, args.maps, args.kinds, args.threshold, args.package
    )
    for kind, count in written.counts.items():
        print(f'{kind}: {count}')
    for reason, count in written.left_out.items():
        print(printable_line(f'left out: {count} x {reason}'))
    for note in written.notes:
        print(printable_line(f'note: {note}'), file=sys.stderr)
    for image, error in written.errors.items():
        print(printable_line(f'not written: {image}: {error}'), file=sys.stderr)
    print(printable(f'written: {args.out}'))
    return 1 if written.errors else 0


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
