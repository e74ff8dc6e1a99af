# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Plot a run: dynamic sharpening (Fig. 3), FROC curves (Fig. 4), validation metrics."""

import argparse

from mmfrac.engine.plain_errors import plain_errors
from mmfrac.visualization.run_plots import plot_run

EXAMPLE = """example:
  python tools/analysis_tools/plot_run.py work_dirs/frac_ssl_phantom --out plots"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='work dir of tools/train.py')
    parser.add_argument('--out', help='folder of the plots, default: the work dir')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in plot_run(args.work_dir, args.out):
        print(path)


if __name__ == '__main__':
    with plain_errors():
        main()
