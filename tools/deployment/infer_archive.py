# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Find fractures in a whole archive: a line of JSON an image, resumed where it was stopped.

Images are files, folders, lists (.txt), tables (.csv), ZIP files, or studies of a DICOMweb server. Each
gets a result: UIDs, view, why it was not scored, score, calibrated probability, flag, boxes. Laterals
and what is no chest are left out unless they are asked for. Started again with the same folder it goes
on. Started by torchrun, srun or as a Slurm array, each process takes a share. Research use only.
"""

import argparse
import itertools
import sys
from pathlib import Path

from mmfrac.datasets.radiographs.limits import MAX_PIXELS_VARIABLE
from mmfrac.deployment.archive import (
    RESULTS,
    ArchiveOptions,
    Shard,
    count_results,
    infer_archive,
    measure_speed,
    merge_results,
)
from mmfrac.deployment.archive_inputs import (
    AUTH_VARIABLE,
    TOKEN_VARIABLE,
    absolute_inputs,
    is_url,
    list_entries,
)
from mmfrac.deployment.package import read_package
from mmfrac.deployment.selection import KINDS, VIEWS, Selection
from mmfrac.utils.device import PRECISIONS
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.processes import default_workers
from mmfrac.utils.text import printable, printable_line

EXAMPLE = f"""examples:
  python tools/deployment/infer_archive.py images/ more.zip list.txt --package ours.mmfrac \\
      --out-dir found
  python tools/deployment/infer_archive.py table.csv --column path --package ours.mmfrac \\
      --out-dir found --parquet
  python tools/deployment/infer_archive.py http://localhost:8042/dicom-web \\
      --query StudyDate=20260101-20261231 \\
      --package ours.mmfrac --out-dir found
  torchrun --nproc-per-node 4 -m mmfrac archive images/ --package ours.mmfrac --out-dir found
  python tools/deployment/infer_archive.py --merge --out-dir found

environment: {TOKEN_VARIABLE}, bearer token of the server, or {AUTH_VARIABLE}, user:password;
{MAX_PIXELS_VARIABLE}, largest image"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('inputs', nargs='*', help='files, folders, .txt, .csv, .zip, URLs')
    parser.add_argument('--package', help='the model, NAME.mmfrac (mmfrac package)')
    parser.add_argument('--out-dir', help='folder for results.jsonl')
    parser.add_argument('--column', help='column of the tables that has paths, default path')
    parser.add_argument(
        '--root', help='where relative paths of lists begin, default beside the list'
    )
    parser.add_argument(
        '--query', nargs='+', default=[], metavar='KEY=VALUE', help='which studies of a server'
    )
    parser.add_argument('--operating-point', help='of the package, default its first')
    parser.add_argument('--batch-size', type=int, help='images a forward pass, default 8')
    parser.add_argument('--chunk', type=int, help='images a process takes at a time, default 512')
    parser.add_argument(
        '--workers',
        type=int,
        help='processes that decode, default: as many as processors, 8 at most',
    )
    parser.add_argument('--device', help='e.g. cuda:0 or cpu, default: what there is')
    parser.add_argument('--precision', choices=PRECISIONS, help='default that of the package')
    parser.add_argument(
        '--shard', help='NUMBER/COUNT: this share of the images; default as torchrun or Slurm say'
    )
    parser.add_argument(
        '--retry-errors', action='store_true', help='try images again that ended in an error'
    )
    parser.add_argument('--parquet', action='store_true', help='write results.parquet, too')
    parser.add_argument('--merge', action='store_true', help='put the shards into one file')
    parser.add_argument(
        '--speed', type=int, metavar='N', help='measure images a second with N images, score none'
    )
    group = parser.add_argument_group('which images are scored')
    usual = Selection()
    group.add_argument('--views', nargs='+', choices=VIEWS, default=list(usual.views))
    group.add_argument('--modalities', nargs='+', default=list(usual.modalities))
    group.add_argument('--body-parts', nargs='+', help='default parts of the chest')
    group.add_argument('--kinds', nargs='+', choices=KINDS, default=[], help='scored, too')
    group.add_argument('--everything', action='store_true', help='score all that can be read')
    args = parser.parse_args()
    if not args.speed and not args.out_dir:
        parser.error('--out-dir is needed')
    if args.retry_errors and (args.merge or args.speed):
        parser.error('--retry-errors scores images: it does not go with --merge or --speed')
    if not args.merge and not (args.inputs and args.package):
        parser.error('inputs and --package are needed')
    pairs = [text.partition('=') for text in args.query]
    if not all(separator for _, separator, _ in pairs):
        parser.error(f'--query takes KEY=VALUE, got {" ".join(args.query)}')
    args.query = {key: value for key, _, value in pairs}
    suffixes = {Path(one).suffix.lower() for one in args.inputs if not is_url(one)}
    if args.query and not any(map(is_url, args.inputs)):
        parser.error('--query searches a DICOMweb server: name its URL among the inputs')
    if args.column and '.csv' not in suffixes:
        parser.error('--column is that of a table: name a .csv among the inputs')
    if args.root and not suffixes & {'.csv', '.txt'}:
        parser.error('--root is where paths of lists begin: name a .txt or .csv among the inputs')
    return args


def main() -> int:
    args = parse_args()
    if args.merge:
        merge_results(args.out_dir, args.parquet)
        return report(args.out_dir)
    package = read_package(args.package)
    print(printable(f'{package.name}: {package.limits}'), file=sys.stderr)
    entries = list_entries(args.inputs, args.column, args.root, args.query, say)
    if args.speed:
        some = list(itertools.islice(entries, args.speed))
        batch_size = args.batch_size or 8
        rates = measure_speed(package, some, (1, 2), batch_size, args.device, args.precision)
        for name, rate in rates.items():
            print(f'{name:10} {rate:8.1f} images a second')
        return 0
    selection = Selection(args.views, args.modalities, args.body_parts, args.kinds, args.everything)
    typed = dict(sources=args.inputs, column=args.column, root=args.root, query=args.query)
    options = ArchiveOptions(
        *(selection, args.operating_point, args.precision, args.batch_size, args.chunk),
        inputs=absolute_inputs(typed),
        typed_inputs=typed,
    )
    shard = Shard.parse(args.shard) if args.shard else Shard.of_environment()
    workers = min(default_workers(), 8) if args.workers is None else args.workers
    done = infer_archive(
        *(package, args.out_dir, entries, options, workers, args.device, shard),
        retry_errors=args.retry_errors,
    )
    if not done:
        print(printable(f'shard {shard.index + 1}/{shard.count} is done, others are not'))
        return 0
    if args.parquet:
        merge_results(args.out_dir, parquet=True)
    return report(args.out_dir)


def say(text: str) -> None:
    print(printable(text), file=sys.stderr)


def report(out_dir: str) -> int:
    counts = count_results(out_dir)
    errors, doubtful = counts.pop('errors'), counts.pop('doubtful')
    for what in ('scored', 'flagged'):
        print(f'{counts.pop(what, 0):8} {what}')
    for reason, number in counts.most_common():
        print(printable_line(f'{number:8} not scored: {reason}'))
    print(printable(f'written: {out_dir}/{RESULTS}'))
    if doubtful:
        print(f'{doubtful} are doubtful by their headers or pixels (field "notes")')
    if errors:
        print(f'{errors} ended in an error (field "error"); --retry-errors tries them again')
    return 1 if errors else 0


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
