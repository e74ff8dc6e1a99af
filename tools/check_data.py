# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Look for everything that is wrong with a data set: annotation files, films and splits."""

import argparse
import sys

from mmfrac.preparation.checks import CHECKS, check_data, severities, write_check_report, write_page
from mmfrac.preparation.checks.report import check_page_output, check_report_output
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/check_data.py data/cxr --html check.html --json check.json
  python tools/check_data.py data/cxr --ann-files annotations/fold_0.json --errors inverted

Exit code: 0 without errors, 1 with errors, 2 for wrong arguments.
checks:
""" + '\n'.join(f'  {name:<16} {c.severity:<8} {c.title}' for name, c in CHECKS.items())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', help='folder of images/ and annotations/')
    parser.add_argument(
        '--ann-files',
        nargs='+',
        metavar='JSON',
        help='annotation files, default: train.json, val.json, test.json in annotations/',
    )
    parser.add_argument('--images', default='images', help='folder of the films (%(default)s)')
    parser.add_argument(
        '--category',
        action='append',
        metavar='NAME',
        help='category whose boxes are lesions, as metainfo of a config names it; may be given several '
        'times; default fracture, or all in a file that has none of that name',
    )
    parser.add_argument('--json', metavar='FILE', help='write the report as JSON')
    parser.add_argument('--html', metavar='FILE', help='write a page with pictures of the worst')
    for option, effect in (
        ('errors', 'count as errors'),
        ('warnings', 'count as warnings'),
        ('off', 'are left out'),
    ):
        parser.add_argument(
            f'--{option}', nargs='+', default=[], metavar='CHECK', help=f'checks that {effect}'
        )
    parser.add_argument('--strict', action='store_true', help='warnings count as errors')
    parser.add_argument(
        '--no-decode', action='store_true', help='only look whether the films are there'
    )
    parser.add_argument(
        '--allow-outside',
        action='store_true',
        help='take file names that are absolute or lead out of the image folder',
    )
    parser.add_argument('--workers', type=int, help='processes, default: one a processor')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.json:
        check_report_output(args.json)
    if args.html:
        check_page_output(args.html)
    report, films = check_data(
        args.data_root,
        args.ann_files,
        args.images,
        severities(args.errors, args.warnings, args.off, args.strict),
        decode=not args.no_decode,
        workers=args.workers,
        allow_outside=args.allow_outside,
        category=args.category,
    )
    print(report)
    if args.json:
        write_check_report(report, args.json)
        print(f'wrote {args.json}')
    if args.html:
        write_page(report, films, args.html, workers=args.workers)
        print(f'wrote {args.html}')
    return int(report.num_errors > 0)


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
