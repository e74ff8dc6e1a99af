# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One test of a comparison, by ``tools/test.py`` in a process of its own."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from mmengine.config import Config

from mmfrac.experiments.comparison.place import Place
from mmfrac.experiments.launching import write_config

MAX_FPPI = 1.0
LIBRARIES = ('mmfrac', 'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy')


@dataclass(frozen=True)
class Tested:
    """What the test films gave.

    Attributes:
        metrics (dict[str, float]): By name.
        records (dict): See ``mmfrac.evaluation.metrics.files``.
        versions (dict[str, str]): Of the libraries.
    """

    metrics: dict[str, float]
    records: dict[str, Any]
    versions: dict[str, str]


def evaluate_run(
    place: Place,
    name: str,
    cfg: Config,
    epoch: int,
    lock: int,
    report: Callable[[str], Any] = print,
) -> Tested:
    """Test a checkpoint of a run.

    Args:
        place (Place): Where.
        name (str): Of the work dir.
        cfg (Config): What was trained.
        epoch (int): Whose checkpoint.
        lock (int): Of the work dir, see ``mmfrac.experiments.launching.locked``.
        report (Callable): Is given a line for each event. Defaults to ``print``.

    Returns:
        Tested: Metrics and records.

    Raises:
        FileNotFoundError: If the checkpoint is gone.
        RuntimeError: If the test failed.
        Stopped: If this process ends.
    """
    work_dir = place.work_dir / name
    found = [*work_dir.glob(f'best_*_epoch_{epoch}.pth'), *work_dir.glob(f'epoch_{epoch}.pth')]
    if not found:
        raise FileNotFoundError(
            f'{work_dir} holds no checkpoint of epoch {epoch}; remove the folder'
        )
    report(f'{name}: testing epoch {epoch}')
    test_dir = work_dir / 'test'
    metrics_file, records_file = test_dir / 'metrics.json', test_dir / 'records.json'
    cfg = copy.deepcopy(cfg)
    cfg.test_evaluator.update(records_file=str(records_file), records_max_fppi=MAX_FPPI)
    arguments = [str(write_config(cfg, test_dir)), str(found[0]), '--work-dir', str(test_dir)]
    arguments += ['--out-json', str(metrics_file)]
    place.run_tool('test.py', arguments, test_dir, lock)
    content = json.loads(metrics_file.read_text(encoding='utf-8'))
    return Tested(
        metrics={f'frac/{key}': value for key, value in content['metrics'].items()},
        records=json.loads(records_file.read_text(encoding='utf-8')),
        versions={library: metadata.version(library) for library in LIBRARIES},
    )
