# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One training of a comparison, by ``tools/train.py`` in a process of its own."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.engine.runner.checkpoints import latest_checkpoint, load_checkpoint_file
from mmfrac.engine.runner.run_log import logged_keys, read_scalars
from mmfrac.experiments.comparison.place import Place
from mmfrac.experiments.launching import write_config
from mmfrac.utils.io import AtomicLocalBackend

METRICS = ('frac/AUROC', 'frac/FROC', 'frac/Recall@0.1')
LOGGED_PREFIXES = ('frac/', 'sharpening/', 'monitor/', 'truth/')


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
    lock: int,
    report: Callable[[str], Any] = print,
) -> Trained:
    """Train, unless it was done; resume what was interrupted.

    Args:
        place (Place): Where.
        name (str): Of the work dir.
        cfg (Config): What to train; it is written to ``config.py`` in the work dir.
        fingerprint (str): Of what it is made from; a work dir with another one is begun anew.
        lock (int): Of the work dir, see ``mmfrac.experiments.launching.locked``.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        Trained: Of this call or of an earlier one.

    Raises:
        RuntimeError: If the training failed; the message ends with the end of its log.
        Stopped: If this process ends.
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
        arguments = [str(write_config(cfg, work_dir)), '--work-dir', str(work_dir)]
        if latest_checkpoint(work_dir):
            report(f'{name}: resumed')
            arguments.append('--resume')
        else:
            report(f'{name}: training')
        start = time.monotonic()
        place.run_tool('train.py', arguments, work_dir, lock)
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
