# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Overlays of several models side by side, of the images where they differ most."""

import argparse

from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable
from mmfrac.visualization.overlay import compare_overlays

EXAMPLE = """example:
  python tools/analysis_tools/compare_overlays.py before=work_dirs/frac_ssl_phantom/overlays_burn_in \\
      after=work_dirs/frac_ssl_phantom/overlays_ssl --out before_after.png"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'overlays', nargs='+', metavar='NAME=FOLDER', help='that tools/test.py --show-dir wrote'
    )
    parser.add_argument('--out', default='compared.png', help='picture, default compared.png')
    parser.add_argument('--number', type=int, default=3, help='images, default 3')
    args = parser.parse_args()
    wrong = [one for one in args.overlays if '=' not in one]
    if wrong:
        parser.error(f'overlays are NAME=FOLDER, got {" ".join(wrong)}')
    names = [one.partition('=')[0] for one in args.overlays]
    if len(set(names)) < len(names):
        parser.error(f'each name once, got {" ".join(names)}')
    return args


def main() -> None:
    args = parse_args()
    folders = dict(one.split('=', 1) for one in args.overlays)
    print(printable(compare_overlays(folders, args.out, args.number)))


if __name__ == '__main__':
    with plain_errors():
        main()
