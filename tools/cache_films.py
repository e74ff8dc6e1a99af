# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Decode and resize the films of a config once, so that training maps them instead."""

import argparse
import shutil
import sys
from pathlib import Path

from mmfrac.datasets.film_cache.cache_writer import (
    SPLITS,
    CacheReport,
    ImageSet,
    check_cache,
    fill_cache,
    images_of_config,
)
from mmfrac.utils.cli import CFG_OPTIONS_HELP, KeyValues
from mmfrac.utils.config import load_config, merge_options, set_data_root
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable, printable_line

EXAMPLE = """example:
  python tools/cache_films.py configs/frac_ssl.py /data/cache --data-root /data/cxr --estimate
  python tools/cache_films.py configs/frac_ssl.py /data/cache --data-root /data/cxr --workers 8
  python tools/cache_films.py configs/frac_ssl.py /data/cache --data-root /data/cxr --check
  python tools/train.py configs/frac_ssl.py --data-root /data/cxr --cfg-options film_cache=/data/cache"""
MOST_LINES = 50
GIB = 2**30


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config that reads the films')
    parser.add_argument('cache', help='folder of the cache; several configs may share it')
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=SPLITS, help='data loaders (default: all)'
    )
    parser.add_argument('--workers', type=int, default=2, help='processes (default 2)')
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--estimate', action='store_true', help='only say how much space the films take at most'
    )
    what.add_argument(
        '--check',
        nargs='?',
        type=int,
        const=16,
        metavar='N',
        help='read every cached film, and decode N of them anew to compare (default 16)',
    )
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)
    return parser.parse_args()


def estimate(films: ImageSet) -> None:
    existing = next(p for p in Path(films.cache.folder, '_').parents if p.is_dir())
    print(
        f'{printable(films.cache.image_dir)}: {len(films.sizes)} films, '
        f'at most {films.most_bytes() / GIB:.2f} GiB; '
        f'free: {shutil.disk_usage(existing).free / GIB:.2f} GiB'
    )


def show(films: ImageSet, report: CacheReport) -> None:
    counts = ', '.join(f'{count} {name}' for name, count in sorted(report.counts.items()))
    written = f'; {report.bytes_written / GIB:.2f} GiB written' if report.bytes_written else ''
    print(f'{printable(films.cache.image_dir)}: {counts or "no films"}{written}')


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    if args.data_root:
        set_data_root(cfg._cfg_dict, args.data_root)
    problems: list[str] = []
    for films in images_of_config(cfg, args.cache, args.splits):
        if args.check is None:
            estimate(films)
        if args.estimate:
            continue
        if args.check is None:
            report = fill_cache(films, args.workers)
        else:
            report = check_cache(films, args.check, args.workers)
        show(films, report)
        problems += report.problems
    if problems:
        lines = [f'  {printable_line(line)}' for line in problems[:MOST_LINES]]
        if len(problems) > MOST_LINES:
            lines.append(f'  ... and {len(problems) - MOST_LINES} more')
        print('\n'.join([f'{len(problems)} films failed:', *lines]), file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    with plain_errors():
        main()
