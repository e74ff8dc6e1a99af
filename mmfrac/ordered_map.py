# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Work on many items in several processes, results in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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

    Raises:
        ChildProcessError: If a process dies, of a crash in a decoder or for want of memory, say.
    """
    if workers <= 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    processes = min(workers, len(tasks))
    done = 0
    with forking() as context, ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for result in pool.map(work, tasks, chunksize=chunk):
                done += 1
                yield result
        except BrokenProcessPool as error:
            last = min(done + chunk * (processes + 1), len(tasks))
            raise ChildProcessError(
                f'a process died at one of the items {done + 1} to {last} of {len(tasks)}, for want of '
                'memory or in a decoder; run it again with fewer workers, or without the item'
            ) from error
