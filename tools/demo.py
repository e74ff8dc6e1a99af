# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Mark three phantom images, with the weights that come along.

Draws three synthetic chest films, finds their fractures and writes overlays, predictions.json and one
picture of all. The model has seen phantoms only: it says nothing about patients.
"""

import argparse

from mmfrac.apis.demo import run_demo
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python tools/demo.py --out-dir found',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out-dir', default='mmfrac_demo', help='default mmfrac_demo')
    parser.add_argument('--seed', type=int, default=0, help='which phantoms are drawn, default 0')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for line in run_demo(args.out_dir, args.seed):
        print(printable(line))


if __name__ == '__main__':
    with plain_errors():
        main()
