# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Say what this environment has and lacks: one line each, with the remedy.

Exit code 1 where something is missing that mmfrac cannot do without.
"""

import argparse
import sys

from mmfrac.apis.doctor import diagnose
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python tools/doctor.py --work-dir /scratch/runs',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--work-dir', default='.', help='where runs would be written, default here')
    return parser.parse_args()


def main() -> int:
    checks = diagnose(parse_args().work_dir)
    print(*map(printable, checks), sep='\n')
    return int(any(check.is_needed for check in checks))


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
