# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Evaluate a checkpoint on the test films of its config."""

import argparse
from pathlib import Path

import mmfrac  # noqa: F401  before mmdet, which asks for operators of mmcv that may not be there

# isort: split
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.engine.runner.ensemble import weights_sha256
from mmfrac.engine.runner.launch import fill_device_options, finish_launch, prepare_launch
from mmfrac.engine.runner.precision import set_test_precision
from mmfrac.engine.runner.stopping import watch
from mmfrac.evaluation import SavePredictions
from mmfrac.utils.cli import (
    add_common_arguments,
    add_compile_argument,
    add_launch_arguments,
    add_precision_argument,
    config_from_arguments,
)
from mmfrac.utils.config import type_name, use_tta
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import PrintableFilter

EXAMPLE = """example:
  python tools/test.py configs/phantom/frac_ssl_phantom.py work_dirs/frac_ssl_phantom/epoch_14.pth
  tools/dist_test.sh configs/frac_ssl.py CHECKPOINT 4 --data-root /data/cxr --show-dir overlays"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='test config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        help='predictions: a folder (prob map, score and boxes of each film as .npz, for '
        'analysis_tools/froc.py) or a pickle file (.pkl, .pickle, as in mmdet)',
    )
    parser.add_argument('--out-json', help='JSON file for the metrics and the FROC curve')
    parser.add_argument(
        '--tta', action='store_true', help='average over flips and scales (tta_model, tta_pipeline)'
    )
    parser.add_argument('--show', action='store_true', help='show the overlays in a window')
    parser.add_argument('--show-dir', help='folder below work_dir/timestamp for the overlays')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays open')
    add_precision_argument(parser)
    add_compile_argument(parser)
    add_common_arguments(parser)
    add_launch_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    cfg = config_from_arguments(args)
    cfg.load_from = args.checkpoint
    if args.out and Path(args.out).suffix not in ('', '.pkl', '.pickle'):
        raise ValueError(f'--out is a folder or a pickle file (.pkl, .pickle), got {args.out}')
    if args.show or args.show_dir:
        cfg = trigger_visualization_hook(cfg, args)
    if args.tta:
        use_tta(cfg)
    set_test_precision(cfg, args.precision, args.compile)
    if args.out_json:
        set_out_file(cfg, args.out_json)
    if cfg.launcher == 'pytorch':
        # ranks end with their launcher
        watch(with_parent=True)
    fill_device_options(cfg)
    prepare_launch(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.logger.addFilter(PrintableFilter())
    if args.out:
        precision = getattr(runner.test_loop, 'precision', None)
        runner.test_evaluator.metrics.append(saving_metric(args, cfg, precision))
    runner.test()
    finish_launch()


def saving_metric(args: argparse.Namespace, cfg: Config, precision: str | None) -> BaseMetric:
    if Path(args.out).suffix:
        return DumpDetResults(out_file_path=args.out)
    run = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        seed=cfg.get('randomness', {}).get('seed'),
        precision=precision,
        versions=installed_versions(),
        config_text=cfg.pretty_text,
    )
    if is_main_process():
        # which writes it
        run['weights'] = weights_sha256(load_checkpoint_file(args.checkpoint, map_location='cpu'))
    return SavePredictions(args.out, run)


def set_out_file(cfg, out_file: str) -> None:
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if type_name(evaluator) == 'FracMetric':
            evaluator['out_file'] = out_file
            return
    raise ValueError('--out-json needs a FracMetric in test_evaluator')


if __name__ == '__main__':
    with plain_errors():
        main()
