# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Parameters, GFLOPs, seconds per training step and per film, peak memory of configs.

Each config is trained and used for some steps on its own films, in a process of its own.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from mmfrac.engine.costs.model_costs import measure_all
from mmfrac.utils.cli import CFG_OPTIONS_HELP, KeyValues
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import AtomicLocalBackend, check_output

EXAMPLE = """example:
  python tools/analysis_tools/model_costs.py configs/compare/phantom/*.py
  python tools/analysis_tools/model_costs.py configs/frac_ssl.py --data-root FOLDER --out costs.jsonl"""
ROW = '{:44}{:>10}{:>9}{:>8}{:>11}{:>10}{:>10}'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument('--steps', type=int, default=10, help='steps that are timed, default 10')
    parser.add_argument('--out', type=Path, help='file for the figures, one JSON object a line')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out:
        check_output(args.out, 'list of costs', rb'\{"config": ')
    header = ('config', 'params M', 'GFLOPs', 'batch', 's a step', 's a film', 'peak MiB')
    print(ROW.format(*header))
    lines = []
    for costs in measure_all(args.configs, args.data_root, args.cfg_options, args.steps):
        figures = (
            f'{costs.params / 1e6:.2f}',
            f'{costs.gflops:.3f}',
            costs.batch_size,
            f'{costs.train_step_seconds:.3f}',
            f'{costs.film_seconds:.4f}',
            f'{costs.peak_memory_bytes / 2**20:.0f}',
        )
        print(ROW.format(costs.config, *figures), flush=True)
        lines.append(json.dumps(asdict(costs)))
        if args.out:
            AtomicLocalBackend().put_text('\n'.join(lines) + '\n', args.out)
    if args.out:
        print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
