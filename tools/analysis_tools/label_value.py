# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the label "fracture" adds to what a model sees, on films whose boxes are known.

Cross-entropy of maps and hidden boxes in nats per 1,000 cells: as they are, with the best factor of
their odds, given the label (NoisyOrPosterior), and both; then the share of lesions that the maps show,
of hidden ones and of those that the model was trained on.
"""

import argparse
import json
from pathlib import Path

from mmengine.registry import init_default_scope

from mmfrac.experiments.label_value import LabelValue, measure_label_value
from mmfrac.utils.cli import CFG_OPTIONS_HELP, KeyValues, config_from_arguments
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import check_output, write_text

EXAMPLE = """example:
  python tools/analysis_tools/label_value.py configs/semi_real/frac_ssl_semi_real_v2.py \\
      seed1/epoch_10.pth seed2/epoch_10.pth --data-root FOLDER"""
COLUMNS = (
    'films',
    'mass',
    'peak',
    'as is',
    'odds',
    'label',
    'odds and label',
    'found',
    'found, boxed',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of teacher-student training with truth_dataset')
    parser.add_argument(
        'checkpoints', nargs='+', help='of its detector; of several also their mean'
    )
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument('--out', type=Path, help='file for the figures, JSON')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out:
        head = rb'\{\s*"(?:[^"\\]|\\.)*": \{\s*"films": '
        check_output(args.out, 'table of label values', head, *args.checkpoints)
    args.work_dir = None
    cfg = config_from_arguments(args)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    groups = {path: [path] for path in args.checkpoints}
    if len(groups) > 1:
        groups[f'mean of {len(groups)}'] = list(groups)
    print(f'| model | {" | ".join(COLUMNS)} |\n|{"---|" * (len(COLUMNS) + 1)}')
    found: dict[str, LabelValue] = {}
    for name, checkpoints in groups.items():
        found[name] = measure_label_value(cfg, checkpoints)
        films, *rates = found[name]
        cells = [str(films), *('' if rate is None else f'{rate:.2f}' for rate in rates)]
        print(f'| {name} | {" | ".join(cells)} |', flush=True)
        if args.out:
            content = {name: value._asdict() for name, value in found.items()}
            write_text(args.out, json.dumps(content, indent=1) + '\n')
    if args.out:
        print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
