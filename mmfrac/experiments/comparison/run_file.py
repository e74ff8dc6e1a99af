# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One JSON a run: all that tables and figures are made from."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmfrac.engine.runner.run_log import EpochValues
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.utils.io import AtomicLocalBackend


@dataclass
class RunResult:
    """One method with one seed.

    Attributes:
        benchmark, method (str): Their names.
        seed (int): Of the training.
        value (float | None): Value of the searched setting.
        fingerprint (str): Of the training config and the annotation files.
        epoch (int): Chosen on validation.
        steps (int): Optimisation steps, those of the pretraining included.
        seconds (float): Of training and testing, without the pretraining.
        validation (dict[str, float]): Metrics of the chosen epoch.
        test (dict[str, float]): Metrics.
        epochs (dict[str, dict[int, float]]): Logged values by key and epoch.
        records (dict): See ``mmfrac.evaluation.metrics.files``.
        versions (dict[str, str]): Of the libraries.
    """

    benchmark: str
    method: str
    seed: int
    value: float | None
    fingerprint: str
    epoch: int
    steps: int
    seconds: float
    validation: dict[str, float]
    test: dict[str, float]
    epochs: dict[str, EpochValues] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def test_records(self) -> RecordSet:
        """Records of the test images, with the definitions that ``test`` was computed under."""
        return read_records(self.records, f'{self.method}, seed {self.seed}')


def run_name(method: str, seed: int, value: float | None) -> str:
    """Name of a run's work dir and, with ``.json``, of its file."""
    searched = '' if value is None else f'-{value:g}'
    return f'{method}{searched}-seed{seed}'


def write_run(folder: str | Path, result: RunResult) -> Path:
    """Write a run under a temporary name and rename it."""
    path = Path(folder) / f'{run_name(result.method, result.seed, result.value)}.json'
    AtomicLocalBackend().put_text(json.dumps(asdict(result), separators=(',', ':')) + '\n', path)
    return path


def read_run(path: str | Path) -> RunResult:
    """Read a run.

    Raises:
        ValueError: If the file is none.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        content['epochs'] = {
            key: {int(epoch): value for epoch, value in values.items()}
            for key, values in content['epochs'].items()
        }
        return RunResult(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is no run of compare_methods.py ({type(error).__name__}: {error}); remove it'
        ) from error


def read_runs(folder: str | Path) -> list[RunResult]:
    """All runs of a folder, by name.

    Raises:
        FileNotFoundError: If there is none.
    """
    paths = sorted(Path(folder).glob('*-seed*.json'))
    if not paths:
        raise FileNotFoundError(f'no runs in {folder}; compare_methods.py writes them to --results')
    return [read_run(path) for path in paths]
