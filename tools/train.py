# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Train a detector from a config.

SIGTERM and SIGUSR1 end it after the epoch, if that is over within MMFRAC_STOP_SECONDS (15), else at
once; the exit code is then 143 or 138 (1 of a launcher of several ranks), and --resume goes on.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import mmfrac  # noqa: F401  before mmdet, which asks for operators of mmcv that may not be there

# isort: split
import torch
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfrac.engine.runner.checkpoints import resume_training
from mmfrac.engine.runner.launch import (
    fill_device_options,
    finish_launch,
    is_first_rank,
    prepare_launch,
)
from mmfrac.engine.runner.precision import use_amp
from mmfrac.engine.runner.stopping import Ended, StopHook, leave, watch
from mmfrac.utils.cli import add_common_arguments, add_launch_arguments, config_from_arguments
from mmfrac.utils.device import keep_freed_memory
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import remove_temporary_files
from mmfrac.utils.lock import locked
from mmfrac.utils.text import PrintableFilter

EXAMPLE = """example:
  python tools/train.py configs/phantom/frac_ssl_phantom.py
  python tools/train.py configs/frac_ssl.py --data-root /data/cxr --amp --resume
  tools/dist_train.sh configs/frac_ssl.py 4 --data-root /data/cxr"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='train config file')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bf16 where the device has it, else fp16 with a scaled loss '
        '(on a CPU fp32)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from auto_scale_lr.base_batch_size to the actual batch',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from a checkpoint, or from the latest one in the work dir',
    )
    add_common_arguments(parser)
    add_launch_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    cfg = config_from_arguments(args)
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(f'{args.config} has no auto_scale_lr.base_batch_size to scale from')
        cfg.auto_scale_lr.enable = True
    if not torch.cuda.is_available():
        keep_freed_memory()
    state = watch(with_parent=cfg.launcher == 'pytorch')
    is_first = is_first_rank(cfg.launcher)
    # one training at a time in a work dir; this process holds it until it ends, whoever started it
    with locked(Path(cfg.work_dir).resolve()) if is_first else nullcontext():
        if is_first:
            remove_temporary_files(cfg.work_dir, of_dead_writers=True)
        if args.resume:
            resume_training(cfg, args.resume)
        fill_device_options(cfg)
        prepare_launch(cfg)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.logger.addFilter(PrintableFilter())
        runner.register_hook(StopHook(state))
        try:
            runner.train()
        except Ended as ended:
            leave(ended, cfg.work_dir, is_first)
    finish_launch()


if __name__ == '__main__':
    with plain_errors():
        main()
