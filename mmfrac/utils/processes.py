# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Worker processes over many film files, whatever the files do to their decoders."""

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

import cv2


@contextmanager
def forking() -> Iterator[BaseContext]:
    """A context to start processes from that decode films, each on one thread.

    A forked process has none of the threads that OpenCV started before, and waits for them for ever as
    soon as it resizes a film or sets their number. So OpenCV runs without threads here until the context
    ends, and the processes inherit that. A forked process has torch and numba at once, a spawned one
    after seconds.

    Yields:
        BaseContext: Of ``multiprocessing``; forks where the system can.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        can_fork = 'fork' in multiprocessing.get_all_start_methods()
        yield multiprocessing.get_context('fork' if can_fork else None)
    finally:
        cv2.setNumThreads(before)


Task = TypeVar('Task')

Result = TypeVar('Result')

# Tasks that travel together: one message for each would cost more than reading a header.
CHUNK = 8

# Tasks under way for each process: it has some left while a slow film holds up the results.
_AHEAD = 3 * CHUNK

# of a worker process
_function: Callable | None = None

_stopped: Any = None


def default_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def crash_text(path: str) -> str:
    """What is said of a film that took its process with it.

    Args:
        path (str): Its file.
    """
    return (
        f"film '{path}' crashes its decoder, alone in a process too; copy it anew, or make more memory "
        'free if the system kills processes for want of it'
    )


class FilePool(Generic[Task, Result]):
    """Processes that apply one function to film files; a context manager.

    A damaged file can take a codec's process with it. The tasks that were under way are then tried
    again one by one, each in a process of its own; the one that kills its process again gets the
    result of ``crashed``, all others their own.

    Where the system can fork, processes have the function without being sent it, however much it
    holds. They start on entry, and anew after a crash: no threads of the caller should live then. On
    exit they end with the task that each is at, whatever else is under way.

    Args:
        function (Callable): Of one task; module level where the system cannot fork.
        workers (int): Processes; 0: this one.
        crashed (Callable): Result of a task whose process died.
        chunk (int): Tasks that travel together; 1 where each takes long. Defaults to 8.

    Raises:
        ValueError: If ``workers`` is negative.
    """

    def __init__(
        self,
        function: Callable[[Task], Result],
        workers: int,
        crashed: Callable[[Task], Result],
        chunk: int = CHUNK,
    ) -> None:
        if workers < 0:
            raise ValueError(f'workers must be 0 or a number of processes, got {workers}')
        self.function = function
        self.workers = workers
        self.crashed = crashed
        self.chunk = chunk

    def __enter__(self) -> 'FilePool[Task, Result]':
        with ExitStack() as stack:
            if self.workers:
                self._context = stack.enter_context(forking())
                # without a lock, which a process that is killed may hold
                self._stopped = self._context.RawValue('b', 0)
                self._processes = self._started(self.workers)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._stack:
            if self.workers:
                self._stopped.value = 1
                self._processes.shutdown(cancel_futures=True)

    def map(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Results of the function in the order of the tasks, a bounded number of them at a time.

        Args:
            tasks (Iterable): Drawn as they are needed.

        Yields:
            Result: One for each task.
        """
        if self.workers == 0:
            yield from map(self.function, tasks)
            return
        source = iter(tasks)
        most = self.workers * max(_AHEAD // self.chunk, 2)
        under_way: deque[tuple[list[Task], Future]] = deque()
        try:
            while True:
                while len(under_way) < most and (chunk := list(islice(source, self.chunk))):
                    under_way.append((chunk, self._submit(chunk)))
                if not under_way:
                    return
                chunk, future = under_way.popleft()
                try:
                    results = future.result()
                except BrokenProcessPool:
                    self._processes.shutdown(cancel_futures=True)
                    results = [self._alone(task) for task in chunk]
                    self._processes = self._started(self.workers)
                    under_way = deque(
                        (rest, future if _is_done(future) else self._submit(rest))
                        for rest, future in under_way
                    )
                yield from results
        finally:
            for _, future in under_way:
                future.cancel()

    def _started(self, workers: int) -> ProcessPoolExecutor:
        held = (self.function, self._stopped, os.getpid())
        processes = ProcessPoolExecutor(workers, self._context, _begin, held)
        # forks them all, now
        processes.submit(_run, [])
        return processes

    def _submit(self, chunk: list[Task]) -> Future:
        try:
            return self._processes.submit(_run, chunk)
        except BrokenProcessPool as error:
            broken: Future = Future()
            broken.set_exception(error)
            return broken

    def _alone(self, task: Task) -> Result:
        with self._started(1) as process:
            try:
                return process.submit(_run, [task]).result()[0]
            except BrokenProcessPool:
                return self.crashed(task)


def map_files(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    crashed: Callable[[Task], Result],
) -> Iterator[Result]:
    """Results of ``function`` in the order of the tasks, from a :class:`FilePool` of their own.

    Args:
        function (Callable): Of one task; module level where the system cannot fork.
        tasks (Iterable): Drawn as they are needed.
        workers (int): Processes; 0: this one.
        crashed (Callable): Result of a task whose process died.

    Yields:
        Result: One for each task.

    Raises:
        ValueError: If ``workers`` is negative.
    """
    with FilePool(function, workers, crashed) as pool:
        yield from pool.map(tasks)


def _begin(function: Callable, stopped: Any, parent: int) -> None:
    global _function, _stopped
    _end_with(parent)
    warnings.simplefilter('ignore')
    _function, _stopped = function, stopped


def _end_with(parent: int) -> None:
    """Have this process killed when its parent is, which would leave it waiting for ever."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


_SIGNAL_AT_PARENTS_DEATH = 1


def _run(chunk: list) -> list:
    assert _function is not None
    return [_function(task) for task in chunk if not _stopped.value]


def _is_done(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
