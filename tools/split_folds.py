# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Split films into a hold-out set and folds, by patient, stratified by label and source.

Writes test.json, fold<k>/{train,val}.json and folds.json. The default is the paper's: 344 films held
out, five folds.
"""

import argparse
from pathlib import Path

from mmfrac.preparation.splits.folds import read_folds, split_table, write_folds
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/split_folds.py data/cxr/annotations/all.json
  python tools/split_folds.py data/cxr/annotations/train.json data/cxr/annotations/val.json \\
      --test data/cxr/annotations/test.json --eval-sources hospital"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', help='annotation files of one data root')
    parser.add_argument('--out', help='folder to write, default: folds/ beside the first file')
    parser.add_argument('--folds', type=int, default=5, help='number of folds, default 5')
    parser.add_argument(
        '--holdout',
        type=float,
        default=344,
        help='films held out for testing; below 1: their share; 0: none; default 344',
    )
    parser.add_argument(
        '--test', help='test file that there is and that is kept; no other hold-out'
    )
    parser.add_argument(
        '--drop-shared',
        action='store_true',
        help='leave out films of the test file and of its patients',
    )
    parser.add_argument(
        '--eval-sources',
        nargs='+',
        help='sources to validate and test on; the others are only trained on; default all',
    )
    parser.add_argument(
        '--category',
        action='append',
        metavar='NAME',
        help='category whose boxes are lesions, as metainfo of a config names it; may be given several '
        'times; default fracture, or all where there is none of that name',
    )
    parser.add_argument('--seed', type=int, default=0, help='default 0')
    parser.add_argument('--overwrite', action='store_true', help='replace the folds that are there')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = Path(args.out) if args.out else Path(args.files[0]).parent / 'folds'
    counts = write_folds(
        args.files,
        out,
        num_folds=args.folds,
        hold_out=int(args.holdout) if float(args.holdout).is_integer() else args.holdout,
        seed=args.seed,
        test_file=args.test,
        eval_sources=args.eval_sources,
        drop_shared=args.drop_shared,
        overwrite=args.overwrite,
        category=args.category,
    )
    print(printable(split_table(counts)))
    for note in read_folds(out)['notes']:
        print(f'note: {printable(note)}')
    print(printable(f'written: {out}'))


if __name__ == '__main__':
    with plain_errors():
        main()
