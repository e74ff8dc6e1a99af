# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is run: a training, and the evaluation of one of its checkpoints, locked and resumable."""

import copy
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from mmdet.registry import METRICS
from mmengine.config import Config

from mmfrac.engine.runner.checkpoints import latest_checkpoint, load_checkpoint_file
from mmfrac.engine.runner.precision import set_test_precision
from mmfrac.engine.runner.run_log import EpochValues, logged_keys, read_scalars
from mmfrac.evaluation.definitions import Definitions, common_definitions
from mmfrac.experiments.results import read_result, write_result
from mmfrac.utils.config import type_name
from mmfrac.utils.io import foreign_files, remove_files, write_text
from mmfrac.utils.lock import locked

Report = Callable[[str], Any]

TRAINING_FILE = 'training.json'
RESULT_FILE = 'result.json'
LOGGED_PREFIXES = ('frac/', 'sharpening/', 'monitor/', 'truth/')


class JobError(RuntimeError):
    """A training or a test of a job failed; the message says where its output lies."""


class Stopped(Exception):
    """A process was ended, or not begun, because this one ends."""


class Processes:
    """Runs commands, also from several threads, and ends them all when asked to."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._running: set[subprocess.Popen] = set()
        self._is_stopped = False

    def run(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> int:
        """Run a command to its end; it is ended where this is interrupted.

        Args:
            command (Sequence[str]): Program and arguments.
            log (Path): File that gets what it prints, at its end; its folder is made.
            cwd (Path, optional): Working directory. Defaults to None: this process's.

        Returns:
            int: Exit code; -N where signal N killed it.

        Raises:
            Stopped: If ``stop`` was called.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, 'ab') as output, self._guard:
            if self._is_stopped:
                raise Stopped(f'not begun: {" ".join(command)}')
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._running.add(process)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            with self._guard:
                self._running.discard(process)
        if self._is_stopped and code:
            raise Stopped(f'ended: {" ".join(command)}')
        return code

    def stop(self) -> None:
        """End the processes that run, and begin no more."""
        with self._guard:
            self._is_stopped = True
            for process in self._running:
                process.terminate()

    def check(self) -> None:
        """Raise ``Stopped`` if ``stop`` was called."""
        if self._is_stopped:
            raise Stopped('not begun')


def exit_on_sigterm() -> None:
    """Leave by SystemExit on SIGTERM, so that processes are ended on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _environment() -> dict[str, str]:
    """This process's, with its interpreter and its mmfrac for the tools."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    path = os.pathsep.join(dict.fromkeys(one for one in paths if one))
    return dict(PYTHON=sys.executable) | os.environ | dict(PYTHONPATH=path)


@dataclass(frozen=True)
class Tools:
    """How ``tools/train.py`` and ``tools/test.py`` are started.

    Attributes:
        folder (Path): Holds them, and ``dist_train.sh``, which starts more than one rank.
        ranks (int): Processes of a training, GPUs where there are some. Defaults to 1.
        train_options (tuple[str, ...]): Further arguments of ``train.py``, e.g. ``--amp``. Defaults to
            none.
        data_root (Path, optional): ``--data-root`` of both. Defaults to None: that of the config.
        cwd (Path, optional): Working directory of both. Defaults to None: this process's.
    """

    folder: Path
    ranks: int = 1
    train_options: tuple[str, ...] = ()
    data_root: Path | None = None
    cwd: Path | None = None

    def train_command(self, config: Path, work_dir: Path) -> list[str]:
        """Command that trains a config, going on where it was interrupted."""
        program = [sys.executable, str(self.folder / 'train.py'), str(config)]
        if self.ranks > 1:
            program = ['bash', str(self.folder / 'dist_train.sh'), str(config), str(self.ranks)]
        resume = ['--resume'] if latest_checkpoint(work_dir) else []
        return [
            *program,
            *('--work-dir', str(work_dir)),
            *self.train_options,
            *self._data_options(),
            *resume,
        ]

    def test_command(self, config: Path, checkpoint: Path, folder: Path, out: Path) -> list[str]:
        """Command that tests a checkpoint and writes its metrics as JSON."""
        program = [sys.executable, str(self.folder / 'test.py'), str(config), str(checkpoint)]
        return [
            *program,
            *('--work-dir', str(folder)),
            *('--out-json', str(out)),
            *self._data_options(),
        ]

    def _data_options(self) -> tuple[str, ...]:
        return () if self.data_root is None else ('--data-root', str(self.data_root))


@dataclass(frozen=True)
class Training:
    """How far the training in a work dir is; content of its ``training.json``.

    Attributes:
        fingerprint (str): Of what it is made from.
        is_finished (bool): Whether it came to its end. Defaults to False.
        checkpoint (str): The last one, in the work dir. Defaults to none.
        steps (int): Optimisation steps. Defaults to 0.
        seconds (float): Wall time, of a process that was killed up to its last checkpoint. Defaults to
            0.
        epochs (dict[str, dict[int, float]]): Logged values by key and epoch. Defaults to none.
    """

    fingerprint: str
    is_finished: bool = False
    checkpoint: str = ''
    steps: int = 0
    seconds: float = 0.0
    epochs: dict[str, EpochValues] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """A training in a work dir of its own.

    Attributes:
        name (str): Names it in what is reported.
        work_dir (Path): Its folder.
        cfg (Config): What to train; it is written to ``config.py`` in the work dir.
        fingerprint (str): Of what it is made from.
        tools (Tools): How it is trained.
    """

    name: str
    work_dir: Path
    cfg: Config
    fingerprint: str
    tools: Tools

    # whether a work dir of another fingerprint is removed; it is an error otherwise
    begins_anew: ClassVar[bool] = True

    def run(self, processes: Processes, report: Report = print) -> Any:
        """Train, unless that was done; resume what was interrupted.

        Another process that works at the same is waited for.

        Args:
            processes (Processes): Runs the tools.
            report (Callable): Is given a line for each event. Defaults to ``print``.

        Returns:
            Training: Of this call or of an earlier one.

        Raises:
            JobError: If a tool failed; the message ends with the end of its output.
            ValueError: If the work dir holds what was made from something else, and is not begun anew.
            Stopped: If this process ends.
        """
        with self._held(processes, report):
            return self._train(processes, report)

    def check(self) -> None:
        """Raise a ValueError if the work dir holds what was made from something else."""
        training = read_training(self.work_dir)
        if training is not None and training.fingerprint != self.fingerprint:
            raise ValueError(
                f'{self.work_dir} was made from another config, other films or other options: give '
                'another --work-dir, or remove that folder'
            )

    def _held(self, processes: Processes, report: Report) -> AbstractContextManager[None]:
        # not the lock of the work dir itself, which the training process takes: it may outlive this one
        return locked(self.work_dir.with_name(f'{self.work_dir.name}.job'), report, processes.check)

    def _train(self, processes: Processes, report: Report) -> Training:
        with locked(self.work_dir, report, processes.check):
            training = self._begun(report)
            if training is not None and training.is_finished:
                return training
            processes.check()
            before = 0.0 if training is None else self._seconds_kept(training)
            write_result(Training(self.fingerprint, seconds=before), self.work_dir / TRAINING_FILE)
            config = write_config(self.cfg, self.work_dir)
        command = self.tools.train_command(config, self.work_dir)
        report(f'{self.name}: {"resumed" if "--resume" in command else "training"}')
        start = time.monotonic()
        self._run_tool('training', command, self.work_dir / 'train.out', processes)
        checkpoint = latest_checkpoint(self.work_dir)
        if checkpoint is None:
            raise JobError(f'training of {self.name} left no checkpoint in {self.work_dir}')
        training = Training(
            fingerprint=self.fingerprint,
            is_finished=True,
            checkpoint=Path(checkpoint).name,
            steps=load_checkpoint_file(checkpoint, 'cpu')['meta']['iter'],
            seconds=before + time.monotonic() - start,
            epochs=read_scalars(self.work_dir, logged_keys(self.work_dir, LOGGED_PREFIXES), report),
        )
        write_result(training, self.work_dir / TRAINING_FILE)
        return training

    def _seconds_kept(self, training: Training) -> float:
        """Time until the checkpoint that is resumed; the training file is written when one begins."""
        checkpoint = latest_checkpoint(self.work_dir)
        if checkpoint is None:
            return 0.0
        begun = (self.work_dir / TRAINING_FILE).stat().st_mtime
        return training.seconds + max(0.0, Path(checkpoint).stat().st_mtime - begun)

    def _begun(self, report: Report) -> Training | None:
        """What is there of this training, and nothing else in the work dir."""
        if not self.begins_anew:
            self.check()
            return read_training(self.work_dir)
        training = read_training(self.work_dir)
        if self.work_dir.is_dir() and (
            training is None or training.fingerprint != self.fingerprint
        ):
            report(
                f'{self.name}: {self.work_dir} was made from another config or other films: begun anew'
            )
            remove_run(self.work_dir)
            return None
        return training

    def _run_tool(self, what: str, command: list[str], log: Path, processes: Processes) -> None:
        code = processes.run(command, log, self.tools.cwd)
        if code:
            how = f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'
            end = '\n'.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-15:])
            raise JobError(
                f'{what} of {self.name} {how}; once that is mended the same command goes on:\n'
                f'  {" ".join(command)}\nThe end of {log}:\n{end}'
            )


# of tools/train.py and tools/test.py, of mmengine, and of this module
_TIME = r'\d{8}_\d{6}'
_OF_A_TOOL = rf'config\.py|(train|test)\.out|{_TIME}/({_TIME}\.(log|json)|vis_data/.+)'
_OF_A_RUN = re.compile(
    rf'{_OF_A_TOOL}|{re.escape(TRAINING_FILE)}|{re.escape(RESULT_FILE)}|last_checkpoint|burn_in\.pth|'
    r'((epoch|iter)_\d+|best_.+_(epoch|iter)_\d+)\.pth|temporal_ensemble/epoch_\d+\.f16|'
    rf'(val|test)/({_OF_A_TOOL}|metrics\.json|records\.json)',
    re.DOTALL,
)


def remove_run(work_dir: Path) -> None:
    """Remove a training and its evaluation.

    Args:
        work_dir (Path): Their folder.

    Raises:
        ValueError: If no job has written there, or it holds what none writes; nothing is removed then.
    """
    names = foreign_files(work_dir)
    if names and TRAINING_FILE not in names:
        raise ValueError(
            f'{work_dir} is there and no run of this command (no {TRAINING_FILE}): give another '
            '--work-dir, or move that folder away'
        )
    foreign = [name for name in names if not _OF_A_RUN.fullmatch(name)]
    if foreign:
        raise ValueError(
            f'{work_dir} would be made anew, and holds {foreign[0]!r}, which no training writes: move '
            'it away, or give another --work-dir'
        )
    remove_files(work_dir, names)


@dataclass(frozen=True)
class EvaluatedJob(TrainingJob, ABC):
    """A training, and the evaluation of one of its checkpoints.

    What comes out is written to ``result.json`` in the work dir, and not made again.

    Attributes:
        max_fppi (float): FPPI up to which its records are exact.
    """

    max_fppi: float

    # images that the checkpoint is evaluated on, 'val' or 'test'
    part: ClassVar[str] = 'test'
    result_type: ClassVar[type]

    @abstractmethod
    def choose(self, training: Training) -> tuple[Path, int]:
        """The checkpoint that is evaluated, and its epoch."""

    @abstractmethod
    def result(
        self,
        training: Training,
        checkpoint: Path,
        epoch: int,
        metrics: dict[str, float],
        records: dict[str, Any],
    ) -> Any:
        """What is written, a ``result_type``; records: see ``mmfrac.evaluation.metrics.files``."""

    @abstractmethod
    def summary(self, result: Any) -> str:
        """Result in one line."""

    def is_current(self, result: Any) -> bool:
        """Whether a result is that of this job."""
        return result.fingerprint == self.fingerprint

    def run(self, processes: Processes, report: Report = print) -> Any:
        """Train and evaluate; what is done is not done again. See ``TrainingJob.run``.

        Returns:
            Any: Of ``result_type``.
        """
        file = self.work_dir / RESULT_FILE
        with self._held(processes, report):
            result = read_result(self.result_type, file) if file.is_file() else None
            if result is None or not self.is_current(result):
                training = self._train(processes, report)
                checkpoint, epoch = self.choose(training)
                report(f'{self.name}: evaluating epoch {epoch}')
                metrics, records = self._evaluate(checkpoint, processes)
                result = self.result(training, checkpoint, epoch, metrics, records)
                write_result(result, file)
        report(f'{self.name}: {self.summary(result)}')
        return result

    def _evaluate(
        self, checkpoint: Path, processes: Processes
    ) -> tuple[dict[str, float], dict[str, Any]]:
        folder = self.work_dir / self.part
        metrics_file, records_file = folder / 'metrics.json', folder / 'records.json'
        cfg = copy.deepcopy(self.cfg)
        if self.part != 'test':
            for key in ('dataloader', 'evaluator'):
                cfg[f'test_{key}'] = copy.deepcopy(cfg[f'{self.part}_{key}'])
        _test_in_fp32(cfg)
        metric = frac_metric(cfg.test_evaluator)
        # a single process gathers nothing, so nothing but the file has to be trimmed
        metric.update(records_file=str(records_file), records_max_fppi=self.max_fppi, max_fppi=None)
        cfg.test_evaluator = metric
        config = write_config(cfg, folder)
        command = self.tools.test_command(config, checkpoint, folder, metrics_file)
        self._run_tool('evaluation', command, folder / 'test.out', processes)
        metrics = json.loads(metrics_file.read_text(encoding='utf-8'))['metrics']
        records = json.loads(records_file.read_text(encoding='utf-8'))
        # null is how JSON has NaN: no lesion, or one class, is evaluated
        found = {key: math.nan if value is None else value for key, value in metrics.items()}
        return {f'frac/{key}': value for key, value in found.items()}, records


def _test_in_fp32(cfg: Config) -> None:
    """Leave no precision to the device: figures of several machines stand side by side."""
    cfg.test_cfg = loop = cfg.get('test_cfg') or dict(type='TestLoop')
    is_usual = type_name({'type': 'TestLoop', **loop}) in ('TestLoop', 'PrecisionTestLoop')
    if is_usual and not loop.get('fp16') and 'precision' not in loop:
        set_test_precision(cfg, 'fp32')


def frac_metric(evaluator: Any) -> dict:
    """The ``FracMetric`` in an evaluator's config.

    Args:
        evaluator (Any): Config of one metric or a list of them.

    Returns:
        dict: Its config, not a copy.

    Raises:
        ValueError: If it has none.
    """
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    for metric in metrics:
        if metric and type_name(metric) == 'FracMetric':
            return metric
    raise ValueError('experiments need a FracMetric in val_evaluator and test_evaluator')


# what a FracMetric of a config may be told to write
_FILES = ('out_file', 'records_file')


def frac_options(evaluator: Any) -> dict:
    """Options of the ``FracMetric`` in an evaluator's config.

    Args:
        evaluator (Any): Config of one metric or a list of them.

    Returns:
        dict: Its arguments, without type and files.

    Raises:
        ValueError: If it has none.
    """
    metric = frac_metric(evaluator)
    return {key: metric[key] for key in metric if key not in ('type', *_FILES)}


def frac_definitions(evaluators: Mapping[str, Any]) -> Definitions:
    """Definitions of the ``FracMetric`` in the evaluators of a cross-validation, which must agree.

    Args:
        evaluators (Mapping[str, Any]): Config of an evaluator by its name.

    Returns:
        Definitions: Of all of them.

    Raises:
        ValueError: If one has none, or two of them differ.
    """
    built = {
        name: METRICS.build(dict(frac_options(one), type='FracMetric'))
        for name, one in evaluators.items()
    }
    return common_definitions([(name, metric.definitions) for name, metric in built.items()])


def write_config(cfg: Config, folder: Path) -> Path:
    """Write a config to ``config.py`` in a folder, which is made.

    Returns:
        Path: The file.
    """
    path = folder / 'config.py'
    write_text(path, cfg.pretty_text)
    return path


def read_training(work_dir: Path) -> Training | None:
    """State of the training in a work dir, None where none was begun.

    Raises:
        ValueError: If the file is damaged.
    """
    path = work_dir / TRAINING_FILE
    # without that file alone the folder is none of a training, which nothing may be written to
    remedy = f'remove the folder {work_dir}, and the same command trains anew'
    return read_result(Training, path, remedy) if path.is_file() else None
