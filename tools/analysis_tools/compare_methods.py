# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Train and test the methods of a benchmark with several seeds, and make its table and figures."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mmfrac.experiments.comparison import (
    Place,
    RunsFailed,
    compare,
    comparison_table,
    load_benchmark,
    measure_costs,
    missing_values,
    plot_comparison,
    read_costs,
    read_runs,
    run_benchmark,
    write_report,
)
from mmfrac.experiments.launching import exit_on_sigterm, locked
from mmfrac.preparation.phantom import write_phantom
from mmfrac.utils.errors import plain_errors

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = """example:
  python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --seeds 0 1 2
  python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v1.py --data-root FOLDER
  python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --tables-only \\
      --reference low_quantile
  python tools/analysis_tools/compare_methods.py configs/benchmarks/detectors_phantom.py --costs

Every run is written to --results as soon as it is done. A run that is there is not made again, and one
that was interrupted is resumed, so the same command goes on where it stopped. Several commands may
share the runs of a work dir: each waits for a run that another one works on."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('benchmark', help='benchmark file, see configs/benchmarks/')
    parser.add_argument('--methods', nargs='+', help='names in the benchmark file, default: all')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='default: 0')
    parser.add_argument('--data-root', help="folder of the films, default: the benchmark's")
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the benchmark file>')
    parser.add_argument(
        '--results', help='folder of the JSON files, default: <benchmark file>/ without .py'
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, default 1')
    parser.add_argument('--tables-only', action='store_true', help='from the JSON files, no run')
    parser.add_argument(
        '--reference', help="method that the others are compared with, default: the benchmark's"
    )
    parser.add_argument(
        '--costs',
        action='store_true',
        help='after the runs measure parameters, GFLOPs, times and memory; nothing else should run',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    benchmark = load_benchmark(args.benchmark)
    reference = args.reference or benchmark.reference
    benchmark.chosen([reference])  # or an error before anything is run
    path = Path(args.benchmark)
    results = Path(args.results) if args.results else path.with_suffix('')
    failed = ''
    if not args.tables_only:
        place = Place(
            repository=REPOSITORY,
            data_root=Path(args.data_root or benchmark.data_root).resolve(),
            work_dir=Path(args.work_dir or f'work_dirs/{path.stem}').resolve(),
            results=results.resolve(),
        )
        if benchmark.phantom is not None:
            with locked(place.data_root, print):
                write_phantom(place.data_root, **benchmark.phantom)
        try:
            run_benchmark(benchmark, place, benchmark.chosen(args.methods), args.seeds, args.jobs)
        except RunsFailed as error:
            failed = str(error)
        if args.costs:
            measure_costs(benchmark, place, benchmark.chosen(args.methods))
    runs = read_runs(results)
    rows = compare(replace(benchmark, reference=reference), runs)
    table = comparison_table(rows, reference, read_costs(results))
    written = [write_report(benchmark, table, results, reference)]
    written += plot_comparison(benchmark, runs, results)
    print(table)
    begun = {run.method for run in runs}
    for name, method in benchmark.methods.items():
        missing = missing_values(benchmark, method, runs)
        if name in begun and missing:
            print(f'{name} is left out: the runs of {missing} are missing in its search')
    for file in written:
        print(file)
    if failed:
        sys.exit(f'some runs failed; the same command tries them again:\n{failed}')


if __name__ == '__main__':
    exit_on_sigterm()
    with plain_errors():
        main()
