# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Train and evaluate all folds of a config, and the ensemble of their best models.

Each fold's best model by validation AUROC is evaluated on its validation films and on the hold-out
films; on those so is the mean of the models' maps. The same command goes on where it was interrupted.
"""

import argparse
import sys
from pathlib import Path

from mmfrac.experiments.cross_validation import cross_validate
from mmfrac.experiments.executors import add_executor_arguments, executor_from_arguments
from mmfrac.experiments.fold_summary import summary_table, write_summary
from mmfrac.experiments.jobs import JobError, Tools, exit_on_sigterm
from mmfrac.experiments.tables import definitions_text
from mmfrac.utils.cli import add_common_arguments, config_from_arguments
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/split_folds.py data/cxr/annotations/all.json
  python tools/cross_validate.py configs/frac_ssl.py data/cxr/annotations/folds
  python tools/cross_validate.py configs/frac_ssl.py data/cxr/annotations/folds --ranks 4 --amp
  python tools/cross_validate.py configs/frac_ssl.py data/cxr/annotations/folds --ranks 4 --slurm gpu"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='train config file')
    parser.add_argument('folds_dir', help='folder that tools/split_folds.py wrote')
    parser.add_argument(
        '--folds',
        type=int,
        nargs='+',
        help='folds to work on, e.g. one a machine; the last one to finish makes the summary',
    )
    parser.add_argument(
        '--ranks', type=int, default=1, help='processes of each training (GPUs), default 1'
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision in training')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the actual batch'
    )
    add_executor_arguments(parser)
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.ranks < 1:
        raise ValueError(f'--ranks is a number of processes from 1, got {args.ranks}')
    given = args.work_dir
    cfg = config_from_arguments(args)
    work_dir = Path(given or f'work_dirs/{Path(args.config).stem}_folds')
    flags = [('--amp', args.amp), ('--auto-scale-lr', args.auto_scale_lr)]
    tools = Tools(
        folder=Path(__file__).resolve().parent,
        ranks=args.ranks,
        train_options=tuple(flag for flag, is_set in flags if is_set),
    )
    executor = executor_from_arguments(args, work_dir, args.ranks)
    try:
        result = cross_validate(cfg, Path(args.folds_dir), work_dir, tools, args.folds, executor)
    except JobError as error:
        print(printable(error), file=sys.stderr)
        return 1
    if result is None:
        return 0
    about = dict(
        config=args.config,
        folds=args.folds_dir,
        checkpoints=[str(path) for path in result.checkpoints],
    )
    written = [*result.written, *write_summary(result.summary, work_dir, about)]
    print(printable(summary_table(result.summary)))
    print(definitions_text(result.summary.definitions))
    for path in written:
        print(printable(f'written: {path}'))
    return 0


if __name__ == '__main__':
    exit_on_sigterm()
    with plain_errors():
        sys.exit(main())
