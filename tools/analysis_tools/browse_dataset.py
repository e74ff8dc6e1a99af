# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Look at a data set after every step of a config's pipeline: contact sheets and single films."""

import argparse
import os
import sys
from pathlib import Path

from mmengine.visualization import Visualizer

from mmfrac.utils.cli import CFG_OPTIONS_HELP, KeyValues, config_from_arguments
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable, printable_line
from mmfrac.visualization.browse import MODES, PHASES, browse_dataset

EXAMPLE = """example:
  python tools/analysis_tools/browse_dataset.py configs/frac_ssl.py --data-root data/cxr \\
      --output-dir browse --not-show --show-number 12

Lesions are green, MMDetection's boxes dashed yellow, target cells orange, cells off the film blue."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='train config file')
    parser.add_argument(
        '--output-dir', help='folder of the pictures, default work_dirs/browse/CONFIG'
    )
    parser.add_argument('--not-show', action='store_true', help='only write the pictures')
    parser.add_argument('--show-interval', type=float, default=2, help='seconds a picture is shown')
    parser.add_argument('--show-number', type=int, default=20, help='films (%(default)s)')
    parser.add_argument('--phase', choices=PHASES, default='train', help='default: train')
    parser.add_argument(
        '--mode',
        choices=MODES,
        default='pipeline',
        help='pipeline: after every step, a row for each branch (default); transformed: as the '
        'network gets it; original: as it lies in the file; concat: the last two side by side',
    )
    parser.add_argument(
        '--size', type=int, default=384, help='longest side of a film (%(default)s px)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random steps (%(default)s)')
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    cfg = config_from_arguments(argparse.Namespace(**vars(args), work_dir=None))
    out_dir = args.output_dir or Path('work_dirs/browse') / Path(args.config).stem
    show = None
    if not args.not_show:
        if sys.platform == 'linux' and not os.environ.get(
            'DISPLAY', os.environ.get('WAYLAND_DISPLAY')
        ):
            print('no display: the pictures are only written (--not-show)')
        else:
            visualizer = Visualizer()

            def show(picture, name):
                visualizer.show(picture, name, args.show_interval)

    browsed = browse_dataset(
        cfg, out_dir, args.phase, args.mode, args.show_number, args.size, args.seed, show
    )
    print(
        f'{printable(out_dir)}: {len(browsed.images)} films, {len(browsed.sheets)} contact sheets'
    )
    for line in browsed.unreadable:
        print(printable_line(line), file=sys.stderr)
    return int(bool(browsed.unreadable))


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
