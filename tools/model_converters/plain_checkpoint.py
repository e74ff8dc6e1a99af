# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Rewrite a checkpoint that plain MMEngine saved, so that it loads with PyTorch's protection.

MMEngine stores its training log as objects that run code when they are loaded. They become plain data;
nothing that is in the file is run.
"""

import argparse

import torch

from mmfrac.engine.runner.checkpoints import read_stock_checkpoint
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import atomic_open, check_not_an_input, listed_output

EXAMPLE = """example:
  python tools/model_converters/plain_checkpoint.py mmdet_run/epoch_12.pth epoch_12_plain.pth"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='checkpoint of MMEngine')
    parser.add_argument('out', help='file to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_not_an_input(args.out, args.checkpoint)
    checkpoint = read_stock_checkpoint(args.checkpoint)
    with atomic_open(listed_output(args.out), 'wb') as file:
        torch.save(checkpoint, file)
    print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
