# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Plot a run: dynamic sharpening (Fig. 3), FROC curves (Fig. 4), validation metrics.

With --keys: any logged values, of one run or of several in the same picture.
"""

import argparse
from pathlib import Path

from mmfrac.evaluation.report.curves import plot_run
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable
from mmfrac.visualization.run_plots import plot_keys

EXAMPLE = """example:
  python tools/analysis_tools/plot_run.py work_dirs/frac_ssl_phantom --out plots
  python tools/analysis_tools/plot_run.py work_dirs/frac_ssl_phantom work_dirs/retinanet \\
      --keys loss frac/FROC --out plots"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', help='work dirs of tools/train.py')
    parser.add_argument(
        '--keys', nargs='+', help='names in vis_data/scalars.json to draw instead, as keys.png'
    )
    parser.add_argument('--out', help='folder of the plots, default: the (first) work dir')
    args = parser.parse_args()
    names = [Path(one).name for one in args.work_dirs]
    if args.out and not args.keys and len(set(names)) < len(names):
        parser.error(
            f'plots of several runs go into a folder each, by name, below --out: {" ".join(names)} are '
            'not different'
        )
    return args


def main() -> None:
    args = parse_args()
    if args.keys:
        print(
            plot_keys(args.work_dirs, args.keys, Path(args.out or args.work_dirs[0]) / 'keys.png')
        )
        return
    for work_dir in args.work_dirs:
        out = args.out
        if out and len(args.work_dirs) > 1:
            out = Path(out) / Path(work_dir).name
        for path in plot_run(work_dir, out):
            print(printable(path))


if __name__ == '__main__':
    with plain_errors():
        main()
