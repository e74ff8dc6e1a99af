# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write the student or the teacher of a checkpoint as a plain detector's checkpoint."""

import argparse

import torch

from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.models.state_dicts import detector_checkpoint
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import atomic_open, check_not_an_input, listed_output

EXAMPLE = """example:
  python tools/model_converters/export_detector.py work_dirs/mean_teacher/epoch_30.pth teacher.pth \\
      --source teacher
  python tools/test.py configs/frac_sup.py teacher.pth --data-root FOLDER"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='checkpoint of a semi-supervised run')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--source', choices=['student', 'teacher'], default='student')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_not_an_input(args.out, args.checkpoint)
    checkpoint = load_checkpoint_file(args.checkpoint, map_location='cpu')
    with atomic_open(listed_output(args.out), 'wb') as file:
        torch.save(detector_checkpoint(checkpoint, args.source), file)
    print(f'{args.source} of {args.checkpoint} written to {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
