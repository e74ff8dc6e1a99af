# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Forking processes without the threads that a fork would cut off."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext

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
