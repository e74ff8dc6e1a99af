# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a run leaves: a JSON in its work dir, and a line of the benchmark's compressed file."""

import json
import lzma
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mmfrac.engine.runner.run_log import EpochValues
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.utils.io import write_bytes, write_text
from mmfrac.utils.lock import locked

RUNS_FILE = 'runs.jsonl.xz'

Result = TypeVar('Result')


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
        seconds (float): Of training, without the pretraining.
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

    @property
    def name(self) -> str:
        """See ``run_name``."""
        return run_name(self.method, self.seed, self.value)

    def test_records(self) -> RecordSet:
        """Records of the test images, with the definitions that ``test`` was computed under."""
        return read_records(self.records, f'{self.method}, seed {self.seed}')


def run_name(method: str, seed: int, value: float | None) -> str:
    """Name of a run, and of its work dir."""
    searched = '' if value is None else f'-{value:g}'
    return f'{method}{searched}-seed{seed}'


def write_result(result: Any, path: Path) -> None:
    """Write a dataclass as JSON in one line; a process killed meanwhile leaves the file before."""
    write_text(path, _line(result))


def read_result(kind: type[Result], path: Path) -> Result:
    """Read what ``write_result`` wrote.

    Args:
        kind (type): The dataclass.
        path (Path): File.

    Raises:
        ValueError: If the file holds something else.
    """
    return _parse(kind, path.read_text(encoding='utf-8'), str(path))


def read_runs(folder: str | Path) -> list[RunResult]:
    """All runs of a benchmark's ``runs.jsonl.xz``, by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    path = Path(folder) / RUNS_FILE
    if not path.is_file():
        raise FileNotFoundError(f'no runs in {folder}: compare_methods.py writes {RUNS_FILE} there')
    return _read_file(path)


def add_runs(folder: str | Path, runs: Iterable[RunResult]) -> Path:
    """Put runs into a benchmark's ``runs.jsonl.xz``, in place of those of the same names.

    The same runs give the same bytes; a file that has them all is left as it is.

    Args:
        folder (str | Path): Of the results; it is made. Another process that writes there is waited for.
        runs (Iterable[RunResult]): Runs.

    Returns:
        Path: The file.
    """
    path = Path(folder) / RUNS_FILE
    with locked(path, lambda line: None):
        known = {run.name: run for run in _read_file(path)} if path.is_file() else {}
        merged = known | {run.name: run for run in runs}
        if merged != known:
            text = ''.join(_line(merged[name]) for name in sorted(merged))
            write_bytes(path, lzma.compress(text.encode(), preset=6))
    return path


def _read_file(path: Path) -> list[RunResult]:
    try:
        lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is damaged ({error}); take it from version control anew'
        ) from error
    runs = [
        _parse(RunResult, line, f'{path}, line {number}') for number, line in enumerate(lines, 1)
    ]
    return sorted(runs, key=lambda run: run.name)


def _line(result: Any) -> str:
    return json.dumps(asdict(result), separators=(',', ':')) + '\n'


def _parse(kind: type[Result], text: str, where: str) -> Result:
    try:
        content = json.loads(text)
        if 'epochs' in content:
            # JSON has no other keys than text
            content['epochs'] = {
                key: {int(epoch): value for epoch, value in values.items()}
                for key, values in content['epochs'].items()
            }
        return kind(**content)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'{where} is damaged, or no {kind.__name__} ({type(error).__name__}: {error}): remove it, '
            'and the same command makes it again'
        ) from error
