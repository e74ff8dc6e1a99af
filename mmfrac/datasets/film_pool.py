# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One function over many film files in several processes, whatever the files do to their decoders."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import BaseContext
from typing import TypeVar

from mmfrac.forking import forking

Task = TypeVar('Task')
Result = TypeVar('Result')

# Tasks that travel together: one message for each would cost more than reading a header.
CHUNK = 8


def default_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def map_films(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    crashed: Callable[[Task], Result],
) -> Iterator[Result]:
    """Results of ``function`` in the order of the tasks, a bounded number of them at a time.

    A damaged file can take a codec's process with it. The tasks that were under way are then tried
    again one by one, each in a process of its own; the one that kills its process again gets the
    result of ``crashed``, all others their own.

    Args:
        function (Callable): Of one task; module level, so that processes can be handed it.
        tasks (Iterable): Drawn as they are needed.
        workers (int): Processes; 0: this one.
        crashed (Callable): Result of a task whose process died.

    Yields:
        Result: One for each task.

    Raises:
        ValueError: If ``workers`` is negative.
    """
    if workers < 0:
        raise ValueError(f'workers must be 0 or a number of processes, got {workers}')
    if workers == 0:
        yield from map(function, tasks)
        return
    with forking() as context:
        yield from _map_in_processes(function, iter(tasks), workers, crashed, context)


def _map_in_processes(
    function: Callable[[Task], Result],
    source: Iterator[Task],
    workers: int,
    crashed: Callable[[Task], Result],
    context: BaseContext,
) -> Iterator[Result]:
    under_way: deque[tuple[list[Task], Future]] = deque()
    pool = _pool(workers, context)
    try:
        while True:
            while len(under_way) < 3 * workers and (chunk := list(islice(source, CHUNK))):
                under_way.append((chunk, _submit(pool, function, chunk)))
            if not under_way:
                return
            chunk, future = under_way.popleft()
            try:
                results = future.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                results = [_alone(function, task, crashed, context) for task in chunk]
                pool = _pool(workers, context)
                under_way = deque(
                    (rest, future if _is_done(future) else _submit(pool, function, rest))
                    for rest, future in under_way
                )
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int, context: BaseContext) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, context, warnings.simplefilter, ('ignore',))


def _submit(pool: ProcessPoolExecutor, function: Callable, chunk: list) -> Future:
    try:
        return pool.submit(_run, function, chunk)
    except BrokenProcessPool as error:
        broken: Future = Future()
        broken.set_exception(error)
        return broken


def _run(function: Callable, chunk: list) -> list:
    return [function(task) for task in chunk]


def _alone(
    function: Callable, task: Task, crashed: Callable[[Task], Result], context: BaseContext
) -> Result:
    with _pool(1, context) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return crashed(task)


def _is_done(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
