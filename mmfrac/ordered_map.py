# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Work on many items in several processes, results in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mmfrac.forking import forking

Task = TypeVar('Task')
Result = TypeVar('Result')


def ordered_map(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int, chunk: int = 4
) -> Iterator[Result]:
    """`map` over processes.

    Each process uses one thread of OpenCV: the work is spread over processes, not threads.

    Args:
        work (Callable): Called with one task; it and the tasks are sent to the processes.
        tasks (Sequence): What is to be done.
        workers (int): Processes; 0 and 1: this one.
        chunk (int): Tasks sent at a time. Default: 4.

    Yields:
        Results in the order of the tasks, each as soon as it and those before it are there.
    """
    if workers <= 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    with forking() as context, context.Pool(min(workers, len(tasks))) as pool:
        yield from pool.imap(work, tasks, chunksize=chunk)
