# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Several checkpoints of one config as an ensemble: config and checkpoint for test.py and infer.py.

The ensemble predicts the mean of the prob maps. Of teacher-student checkpoints the students are taken.
"""

import argparse

import mmfrac  # noqa: F401
from mmfrac.engine.runner.ensemble import write_ensemble
from mmfrac.utils.config import load_config
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/model_converters/make_ensemble.py configs/frac_ssl.py seed0.pth seed1.pth seed2.pth \\
      --out-dir work_dirs/ensemble
  python tools/test.py work_dirs/ensemble/ensemble.py work_dirs/ensemble/ensemble.pth"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config that the checkpoints were trained with')
    parser.add_argument('checkpoints', nargs='+', help='checkpoint files')
    parser.add_argument('--out-dir', required=True, help='folder for ensemble.py and ensemble.pth')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in write_ensemble(load_config(args.config), args.checkpoints, args.out_dir):
        print(f'written: {path}')


if __name__ == '__main__':
    with plain_errors():
        main()
