# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a run leaves: a JSON in its work dir, and a line of the benchmark's compressed file."""

import json
import lzma
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mmfrac.engine.runner.run_log import EpochValues
from mmfrac.evaluation.functional.froc import figures
from mmfrac.evaluation.metrics.files import RecordSet, read_records
from mmfrac.utils.io import write_bytes, write_text
from mmfrac.utils.lock import locked

RUNS_FILE = 'runs.jsonl.xz'
# of a file that is damaged
REMEDY = 'remove it, and the same command makes it again'

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
        versions (dict[str, str]): Of the libraries, and what it was computed on, ``device`` and
            ``threads``: the last digits depend on them.
        fold (int | None): Of a search by folds; ``test`` and ``records`` are then those of the fold's
            validation images.
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
    fold: int | None = None

    @property
    def name(self) -> str:
        """See ``run_name``."""
        return run_name(self.method, self.seed, self.value, self.fold)

    def test_records(self) -> RecordSet:
        """Records of the test images, with the definitions that ``test`` was computed under."""
        return read_records(self.records, f'{self.method}, seed {self.seed}')


def run_name(method: str, seed: int, value: float | None, fold: int | None = None) -> str:
    """Name of a run, and of its work dir."""
    searched = '' if value is None else f'-{value:g}'
    return f'{method}{searched}-seed{seed}' + ('' if fold is None else f'-fold{fold}')


def check_benchmark(run: RunResult, benchmark: str, where: str | Path, option: str) -> None:
    """Raise a ``ValueError`` if a run is of another benchmark, whose methods may have the same names.

    Args:
        run (RunResult): The run.
        benchmark (str): Name of the benchmark that it should be of.
        where (str | Path): What holds it.
        option (str): Of ``compare_methods.py``, that names another folder.
    """
    if run.benchmark != benchmark:
        raise ValueError(
            f'{where}: {run.name} is a run of the benchmark {run.benchmark!r}, not of {benchmark!r}, '
            f'and two benchmarks share no folder: give another {option}'
        )


def write_result(result: Any, path: Path) -> None:
    """Write a dataclass as JSON in one line; a process killed meanwhile leaves the file before."""
    write_text(path, _line(result))


def read_result(kind: type[Result], path: Path, remedy: str = REMEDY) -> Result:
    """Read what ``write_result`` wrote.

    Args:
        kind (type): The dataclass.
        path (Path): File.
        remedy (str): What to do about a damaged file, for the message. Defaults to removing it.

    Raises:
        ValueError: If the file holds something else.
    """
    result = _parse(kind, path.read_text(encoding='utf-8', errors='replace'), str(path), remedy)
    if isinstance(result, RunResult) and result.records:
        records = result.test_records()
        with warnings.catch_warnings():
            # NaN says it
            warnings.simplefilter('ignore')
            found, _ = figures(records.images, records.definitions)
        check_metrics(result, found)
    return result


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
        runs (Iterable[RunResult]): Runs of one benchmark.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the file is damaged, or holds runs of another benchmark; it is left as it is.
    """
    path = Path(folder) / RUNS_FILE
    with locked(path, lambda line: None):
        known = {run.name: run for run in _read_file(path)} if path.is_file() else {}
        added = {run.name: run for run in runs}
        for run in added.values():
            for other in known.values():
                check_benchmark(other, run.benchmark, path, '--results')
        merged = known | added
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
    if not lines:
        raise ValueError(f'{path} holds no run: {REMEDY}')
    runs: dict[str, RunResult] = {}
    for number, line in enumerate(lines, 1):
        run = _parse(RunResult, line, f'{path}, line {number}')
        if run.name in runs:
            raise ValueError(
                f'{path}, line {number}: {run.name} stands on an earlier line, too, and would count '
                'twice: take it from version control anew, or remove one of these lines'
            )
        runs[run.name] = run
    return [runs[name] for name in sorted(runs)]


# finite, and not below 0
_COUNTS = ('seed', 'epoch', 'steps', 'seconds')
# shares, or NaN where there is nothing to measure
_SHARES = ('validation', 'test')
# records hold float32
_CLOSE = 1e-5


def _check_fields(result: Any) -> None:
    """Raise a ``ValueError`` if a field of a dataclass has another type, or no possible value."""
    hints = get_type_hints(type(result))
    for one in fields(result):
        value = getattr(result, one.name)
        if not _fits(value, hints[one.name]):
            raise ValueError(f'{one.name} is {_short(value)}, of another type than it should be')
        is_count = one.name in _COUNTS or (one.name == 'fold' and value is not None)
        if is_count and not 0 <= value < math.inf:
            raise ValueError(f'{one.name} is {_short(value)}')
        for name, metric in value.items() if one.name in _SHARES else ():
            if not (math.isnan(metric) or 0 <= metric <= 1):
                raise ValueError(f'{name} of {one.name} is {metric:g}, no share')


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is dict:
        key, item = arguments
        return isinstance(value, dict) and all(
            _fits(one, key) and _fits(other, item) for one, other in value.items()
        )
    if origin in (list, tuple):
        return isinstance(value, list) and all(_fits(one, arguments[0]) for one in value)
    if hint in (int, float):
        # a bool is an int in Python, and a whole number is one in JSON
        kinds = (int,) if hint is int else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        # JSON integers have no limit, floats do
        return is_number and (isinstance(value, float) or abs(value) < 2**63)
    return isinstance(value, hint or type(None))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'


def check_metrics(run: RunResult, found: Mapping[str, float]) -> None:
    """Raise a ``ValueError`` if the metrics of a run are not those of its own records.

    Args:
        run (RunResult): The run.
        found (Mapping[str, float]): What its records give, by name without 'frac/'.
    """
    for name, value in found.items():
        stored = run.test.get(f'frac/{name}')
        if stored is not None and not np.isclose(stored, float(value), 0, _CLOSE, equal_nan=True):
            raise ValueError(
                f'{run.name}: {name} is {stored:g}, and its own records give {float(value):g}: {REMEDY}'
            )


def _line(result: Any) -> str:
    return json.dumps(asdict(result), separators=(',', ':')) + '\n'


def _parse(kind: type[Result], text: str, where: str, remedy: str = REMEDY) -> Result:
    try:
        content = json.loads(text)
        if 'epochs' in content:
            # JSON has no other keys than text
            content['epochs'] = {
                key: {int(epoch): value for epoch, value in values.items()}
                for key, values in content['epochs'].items()
            }
        result = kind(**content)
        _check_fields(result)
        return result
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f'{where} is damaged, or no {kind.__name__} ({type(error).__name__}: {error}): {remedy}'
        ) from error
