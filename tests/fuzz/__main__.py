# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Damaged inputs of every kind: read right, or refused with one error of the project's own.

python -m tests.fuzz --out fuzz                      # all kinds, 10,000 each; goes on where it was
python -m tests.fuzz dicom raster --count 500 --seed 1 --out fuzz
"""

import argparse
import sys
from pathlib import Path

from tests.fuzz import (  # noqa: F401  register their kinds
    annotations,
    checkpoints,
    dicom,
    film_cache,
    predictions,
    raster,
    tables,
)
from tests.fuzz.engine import KINDS, run_kind, table

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kinds', nargs='*', help=f'of {", ".join(sorted(KINDS))}; default all')
    parser.add_argument('--count', type=int, default=10_000, help='inputs of a kind')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, required=True, help='folder of the journals')
    args = parser.parse_args()
    unknown = set(args.kinds) - set(KINDS)
    if unknown:
        parser.error(f'no kind {sorted(unknown)}; there are {sorted(KINDS)}')
    counts = {
        name: run_kind(KINDS[name], args.count, args.seed, args.out)
        for name in args.kinds or sorted(KINDS)
    }
    print(table(counts, args.out / 'counts.json'))
    sys.exit(any(outcomes.bad for outcomes in counts.values()))
