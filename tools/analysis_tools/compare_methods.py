# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Train and test the methods of a benchmark with several seeds, and make its table and figures."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mmfrac.evaluation.definitions import common_definitions
from mmfrac.experiments.benchmark import Benchmark, Folders, load_benchmark
from mmfrac.experiments.comparison import (
    RunsFailed,
    collect_runs,
    outdated_runs,
    run_benchmark,
)
from mmfrac.experiments.costs import measure_costs, read_costs
from mmfrac.experiments.executors import add_executor_arguments, executor_from_arguments
from mmfrac.experiments.fold_films import NUM_FOLDS, check_choices, write_fold_films
from mmfrac.experiments.jobs import exit_on_sigterm
from mmfrac.experiments.results import RUNS_FILE, read_runs
from mmfrac.experiments.selection import missing_values
from mmfrac.experiments.tables import (
    compare,
    comparison_table,
    interval_text,
    outdated_text,
    plot_comparison,
    time_text,
    write_report,
)
from mmfrac.preparation.phantom import write_phantom
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.lock import locked
from mmfrac.utils.text import printable

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = """example:
  python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --seeds 0 1 2
  python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v1.py --data-root FOLDER
  python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --tables-only \\
      --reference low_quantile
  python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v2.py --data-root FOLDER \\
      --fold 0 --methods mean_teacher plus
  python tools/analysis_tools/compare_methods.py configs/benchmarks/detectors_phantom.py --costs
  python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --slurm gpu \\
      --slurm-options time=600 cpus_per_task=8

Every run is written to its work dir as soon as it is done, and all that are done are put into
runs.jsonl.xz in --results. A run that is there is not made again, and one that was interrupted is
resumed, so the same command goes on where it stopped. Several commands may share the runs of a work dir:
each waits for a run that another one works on."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('benchmark', help='benchmark file, see configs/benchmarks/')
    parser.add_argument('--methods', nargs='+', help='names in the benchmark file, default: all')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='default: 0')
    parser.add_argument('--data-root', help="folder of the films, default: the benchmark's")
    parser.add_argument(
        '--fold',
        type=int,
        choices=range(NUM_FOLDS),
        help='test on this fold of train and validation films in place of '
        'the test films, to choose a method; runs and results go into fold<N>/ of their folders',
    )
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the benchmark file>')
    parser.add_argument(
        '--results',
        help='folder of runs.jsonl.xz, tables and figures, default: <benchmark file>/ without .py, '
        'or results/ in the work dir of one that is named mmfrac::NAME',
    )
    parser.add_argument(
        '--tables-only',
        action='store_true',
        help='from the runs that are there, nothing is trained',
    )
    parser.add_argument(
        '--reference', help="method that the others are compared with, default: the benchmark's"
    )
    parser.add_argument(
        '--costs',
        action='store_true',
        help='after the runs measure parameters, GFLOPs, times and memory; nothing else should run',
    )
    add_executor_arguments(parser)
    return parser.parse_args()


def make_films(benchmark: Benchmark, data_root: Path) -> None:
    """Make the films of a benchmark that makes its own."""
    if benchmark.phantom is not None:
        with locked(data_root, print):
            write_phantom(data_root, **benchmark.phantom)


def folders_of_fold(folders: Folders, fold: int) -> Folders:
    """Where a fold of train and validation films is the test films."""
    work_dir = folders.work_dir / f'fold{fold}'
    results = folders.results / f'fold{fold}'
    return replace(folders, data_root=work_dir / 'films', work_dir=work_dir, results=results)


def main() -> None:
    args = parse_args()
    benchmark = load_benchmark(args.benchmark)
    reference = args.reference or benchmark.reference
    benchmark.chosen([reference])  # or an error before anything is run
    path = Path(args.benchmark)
    work_dir = Path(args.work_dir or f'work_dirs/{path.stem}').resolve()
    # beside a benchmark of one's own, and not within the installed package
    default = work_dir / 'results' if '::' in args.benchmark else path.with_suffix('')
    results = Path(args.results) if args.results else default
    folders = Folders(
        repository=REPOSITORY,
        data_root=Path(args.data_root or benchmark.data_root).resolve(),
        work_dir=work_dir,
        results=results.resolve(),
    )
    data_root = folders.data_root
    if args.fold is not None:
        check_choices(benchmark, benchmark.chosen(args.methods))
        folders = folders_of_fold(folders, args.fold)
    failed = ''
    if args.tables_only:
        collect_runs(benchmark, folders)
    else:
        executor = executor_from_arguments(args, folders.work_dir)
        make_films(benchmark, data_root)
        if args.fold is not None:
            write_fold_films(data_root, folders.data_root, args.fold)
        try:
            methods = benchmark.chosen(args.methods)
            run_benchmark(benchmark, folders, methods, args.seeds, executor)
        except RunsFailed as error:
            failed = str(error)
        if args.costs:
            measure_costs(benchmark, folders, benchmark.chosen(args.methods))
    if failed and not (folders.results / RUNS_FILE).is_file():
        sys.exit(f'all runs failed; the same command tries them again:\n{failed}')
    runs = read_runs(folders.results)
    compared = replace(benchmark, reference=reference)
    rows = compare(compared, runs)
    table = comparison_table(rows, reference, read_costs(folders.results))
    definitions = common_definitions(
        [(records.where, records.definitions) for records in (run.test_records() for run in runs)]
    )
    intervals = interval_text(compared, rows)
    films = 'test films' if args.fold is None else f'films of fold {args.fold}'
    time = time_text(benchmark, runs)
    outdated = ''
    if not args.tables_only:
        outdated = outdated_text(benchmark, outdated_runs(benchmark, folders, runs))
    report = write_report(
        benchmark, table, definitions, folders.results, reference, intervals, films, time, outdated
    )
    print(printable(table))
    for text in filter(None, (intervals, time, outdated)):
        print(printable(text))
    if rows and reference not in {row.method for row in rows}:
        print(f'{reference} has no runs to compare with: the table has no differences')
    written = [report, *plot_comparison(benchmark, runs, folders.results)]
    begun = {run.method for run in runs}
    for name, method in benchmark.methods.items():
        missing = missing_values(benchmark, method, runs)
        if name in begun and missing:
            print(f'{name} is left out: the runs of {missing} are missing in its search')
    for file in written:
        print(printable(file))
    if failed:
        sys.exit(f'some runs failed; the same command tries them again:\n{failed}')


if __name__ == '__main__':
    exit_on_sigterm()
    with plain_errors():
        main()
