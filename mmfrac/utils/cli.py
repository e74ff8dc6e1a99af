# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the tools that take a config share."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmfrac.utils.config import set_data_root, set_film_cache
from mmfrac.utils.config_file import KeyValues, load_config

CFG_OPTIONS_HELP = (
    'settings of the config to override, as key=value pairs; nested keys with dots, lists as '
    'key="[a,b]" or key=a,b'
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments as mmdet users know them, plus ``--data-root``."""
    parser.add_argument('--work-dir', help='folder for logs, models and metrics')
    parser.add_argument('--data-root', help='folder of images/ and annotations/ of all data sets')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues, help=CFG_OPTIONS_HELP)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a tool that may run as one of several ranks."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher; the dist_*.sh and slurm_*.sh scripts set it',
    )
    # torchrun's predecessor passed the rank as an argument
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def config_from_arguments(args: argparse.Namespace) -> Config:
    """Load the config and apply the common arguments.

    Args:
        args (Namespace): With ``config`` and the arguments of ``add_common_arguments``; those of
            ``add_launch_arguments`` where the tool has them.

    Returns:
        Config: With ``work_dir`` and ``launcher`` set.

    Raises:
        FileNotFoundError: When there is no such config.
        ValueError: When it is no config of a model.
    """
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    cfg = load_config(args.config)
    cfg.launcher = getattr(args, 'launcher', 'none')
    options = args.cfg_options or {}
    cfg.merge_from_dict(options)
    data_root = args.data_root or options.get('data_root')
    if data_root:
        set_data_root(cfg._cfg_dict, data_root)
    if cfg.get('film_cache'):
        set_film_cache(cfg._cfg_dict, cfg.film_cache)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def resume_training(cfg: Config, checkpoint: str) -> None:
    """Make a run continue.

    Args:
        cfg (Config): With ``work_dir``; ``resume`` and ``load_from`` are set. Where there is nothing to
            continue from with 'auto' it is left as it is, and training starts anew.
        checkpoint (str): File to continue from, or 'auto': the latest in the work dir.
    """
    found = latest_checkpoint(cfg.work_dir) if checkpoint == 'auto' else checkpoint
    if found is None:
        print_log(f'Nothing to resume in {cfg.work_dir}: training starts anew', logger='current')
        return
    cfg.resume = True
    cfg.load_from = found


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Checkpoint that was saved last in a work dir.

    mmengine writes its name to the file ``last_checkpoint``. A run killed at that moment leaves the
    file empty or cut short, and a moved work dir makes it point elsewhere: then the newest file counts.

    Args:
        work_dir (str | Path): Folder of a run.

    Returns:
        str | None: None where there is no checkpoint.
    """
    folder = Path(work_dir)
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = folder / Path(pointer.read_text().strip()).name
        if named.is_file():
            return str(named)
    saved = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
    return str(max(saved, key=lambda path: path.stat().st_mtime_ns)) if saved else None
