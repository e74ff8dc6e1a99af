# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A few threads for compiled code that lets go of Python's lock."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


def num_threads() -> int:
    """Cores that this process may use; ``OMP_NUM_THREADS`` bounds them, as it does in torch."""
    has_affinity = hasattr(os, 'sched_getaffinity')
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    wanted = os.environ.get('OMP_NUM_THREADS', '')
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores


@contextmanager
def parallel_map(num_arguments: int) -> Iterator[Map]:
    """A ``map`` that runs in threads where there are cores for it.

    The threads end with the context, so that nothing is left for a process that is forked later.

    Args:
        num_arguments (int): Calls at a time; 1 makes no thread.

    Yields:
        Callable: ``(function, arguments) -> results``; the first call is made by this thread.
    """
    others = min(num_threads(), num_arguments) - 1
    if others < 1:
        yield lambda function, arguments: [function(argument) for argument in arguments]
        return
    with ThreadPoolExecutor(others) as pool:

        def run(function: Callable, arguments: Sequence) -> list:
            futures = [pool.submit(function, argument) for argument in arguments[1:]]
            return [function(arguments[0]), *(future.result() for future in futures)]

        yield run
