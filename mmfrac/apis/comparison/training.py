# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One training of a comparison, by ``tools/train.py`` in a process of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.config import film_sets
from mmfrac.engine.atomic_backend import AtomicLocalBackend
from mmfrac.engine.checkpoint_file import load_checkpoint_file
from mmfrac.engine.cli import latest_checkpoint
from mmfrac.visualization.run_plots import logged_keys, read_scalars

METRICS = ('frac/AUROC', 'frac/FROC', 'frac/Recall@0.1')
LOGGED_PREFIXES = ('frac/', 'sharpening/', 'monitor/', 'truth/')
# what a result depends on; of the hooks those that a method brings, not those of every run
DECISIVE = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'val_evaluator',
    'test_dataloader',
    'test_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'randomness',
)
ANNOTATIONS = tuple(f'annotations/{part}.json' for part in ('train', 'val', 'test'))


@dataclass(frozen=True)
class Place:
    """Where a benchmark is run.

    Attributes:
        repository (Path): Holds ``tools/`` and ``configs/``.
        data_root (Path): Folder of the films.
        work_dir (Path): Gets a work dir a run.
        results (Path): Gets a JSON a run.
    """

    repository: Path
    data_root: Path
    work_dir: Path
    results: Path


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint (str): The last one.
        steps (int): Optimisation steps.
        seconds (float): Wall time, without what a process that was killed had done.
        epochs (dict[str, dict[int, float]]): Logged values by key and epoch.
    """

    checkpoint: str
    steps: int
    seconds: float
    epochs: dict[str, dict[int, float]]


def train(
    place: Place,
    name: str,
    cfg: Config,
    fingerprint: str,
    report: Callable[[str], Any] = print,
) -> Trained:
    """Train, unless it was done; resume what was interrupted.

    Args:
        place (Place): Where.
        name (str): Of the work dir.
        cfg (Config): What to train; it is written to ``config.py`` in the work dir.
        fingerprint (str): Of what it is made from; a work dir with another one is begun anew.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        Trained: Of this call or of an earlier one.

    Raises:
        RuntimeError: If the training failed; the message ends with the end of its log.
    """
    work_dir = place.work_dir / name
    finished = work_dir / 'finished.json'
    made_from = work_dir / 'fingerprint.txt'
    known = made_from.read_text(encoding='utf-8') if made_from.is_file() else ''
    if work_dir.is_dir() and known != fingerprint:
        report(f'{name}: {work_dir} was made from another config or other films: begun anew')
        shutil.rmtree(work_dir)
    if not finished.is_file():
        AtomicLocalBackend().put_text(fingerprint, made_from)
        arguments = [write_config(cfg, work_dir), '--work-dir', str(work_dir)]
        if latest_checkpoint(work_dir):
            report(f'{name}: resumed')
            arguments.append('--resume')
        else:
            report(f'{name}: training')
        start = time.monotonic()
        run_tool(place, 'train.py', arguments, work_dir)
        checkpoint = latest_checkpoint(work_dir)
        assert checkpoint is not None
        trained = Trained(
            checkpoint=Path(checkpoint).name,
            steps=load_checkpoint_file(checkpoint, 'cpu')['meta']['iter'],
            seconds=time.monotonic() - start,
            epochs=read_scalars(work_dir, logged_keys(work_dir, LOGGED_PREFIXES), report),
        )
        AtomicLocalBackend().put_text(json.dumps(asdict(trained)), finished)
    content = json.loads(finished.read_text(encoding='utf-8'))
    content['checkpoint'] = str(work_dir / content['checkpoint'])
    content['epochs'] = {
        key: {int(epoch): value for epoch, value in values.items()}
        for key, values in content['epochs'].items()
    }
    return Trained(**content)


def write_config(cfg: Config, work_dir: Path) -> str:
    """Write a config to a work dir, and return its path."""
    work_dir.mkdir(parents=True, exist_ok=True)
    path = str(work_dir / 'config.py')
    cfg.dump(path)
    return path


def run_tool(place: Place, tool: str, arguments: Sequence[str], work_dir: Path) -> None:
    """Run a tool of this repository on the films; its output goes to a file in the work dir.

    Raises:
        RuntimeError: If it failed.
    """
    log = work_dir / f'{Path(tool).stem}.out'
    command = [sys.executable, f'tools/{tool}', *arguments, '--data-root', str(place.data_root)]
    paths = [str(place.repository), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    environment = os.environ | dict(PYTHONPATH=os.pathsep.join(path for path in paths if path))
    with open(log, 'a', encoding='utf-8') as file:
        done = subprocess.run(
            command,
            cwd=place.repository,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        end = '\n'.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-15:])
        raise RuntimeError(
            f'{" ".join(command)} failed ({done.returncode}), the end of {log}:\n{end}'
        )


def fingerprint_of(place: Place, configs: Sequence[Config]) -> str:
    """Short hash of the decisive parts of configs, and of the annotation files.

    Those are ``train.json``, ``val.json``, ``test.json`` and whatever else the configs train on.

    Args:
        place (Place): Where.
        configs (Sequence[Config]): What a run is made from.

    Returns:
        str: 16 hexadecimal digits.

    Raises:
        FileNotFoundError: If an annotation file is missing.
    """
    digest = hashlib.sha256()
    for cfg in configs:
        content = {key: value for key, value in cfg.to_dict().items() if key in DECISIVE}
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    trained_on = {
        one['ann_file'] for cfg in configs for one in film_sets(cfg.get('train_dataloader'))
    }
    for name in [*ANNOTATIONS, *sorted(trained_on - set(ANNOTATIONS))]:
        path = place.data_root / name
        if not path.is_file():
            raise FileNotFoundError(
                f'no annotation file {path}; is {place.data_root} the data root?'
            )
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
