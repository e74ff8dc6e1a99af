# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write a phantom set: synthetic chest films (12-bit DICOM) with exact fracture truth (COCO JSON)."""

import argparse
import os
import time

# one thread a process: the films are spread over processes (read when numpy is imported)
for variable in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(variable, '1')

from mmfrac.preparation.phantom import paper_counts, write_phantom  # noqa: E402
from mmfrac.utils.errors import plain_errors  # noqa: E402

EXAMPLE = """example:
  python tools/make_phantom.py data/phantom --num-train 600 --val 30 60 --test 60 120 --size 320
  python tools/make_phantom.py data/phantom --train 24 120 96 240"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', help='folder of the set')
    parser.add_argument('--size', type=int, default=320, help='edge of the films in px')
    parser.add_argument('--seed', type=int, default=0, help='seed of the set')
    parser.add_argument('--difficulty', type=float, default=0.3, help='0 obvious to 1 subtle')
    train = parser.add_mutually_exclusive_group()
    train.add_argument(
        '--num-train', type=int, default=600, help="films, in the paper's proportions (default 600)"
    )
    train.add_argument(
        '--train', type=int, nargs=4, metavar=('P_HOS', 'N_HOS', 'P_PUB', 'N_PUB'), help='films'
    )
    for split, films in (('val', [30, 60]), ('test', [60, 120])):
        parser.add_argument(
            f'--{split}', type=int, nargs=2, metavar=('POS', 'NEG'), default=films, help='films'
        )
    parser.add_argument('--workers', type=int, default=2, help='processes, default 2')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a set of other parameters'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.train:
        train = dict(zip(('P_hos', 'N_hos', 'P_pub', 'N_pub'), args.train))
    else:
        train = paper_counts(args.num_train)
    counts = {'train': train}
    for split in ('val', 'test'):
        positive, negative = getattr(args, split)
        counts[split] = {'P_hos': positive, 'N_hos': negative}
    start = time.perf_counter()
    summary = write_phantom(
        args.out,
        counts,
        size=args.size,
        seed=args.seed,
        difficulty=args.difficulty,
        workers=args.workers,
        overwrite=args.overwrite,
    )
    print(f'{"split":8}{"films":>8}{"positives":>11}{"boxes":>8}{"patients":>10}')
    for split, row in summary.items():
        print(
            f'{split:8}{row["films"]:8d}{row["positives"]:11d}{row["boxes"]:8d}{row["patients"]:10d}'
        )
    roles = ', '.join(f'{role} {count}' for role, count in train.items())
    print(f'train films: {roles}')
    print(f'{args.out}: {time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    with plain_errors():
        main()
