# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One process at a time in a work dir."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def locked(work_dir: Path, wait: Callable[[str], Any] | None = None) -> Iterator[int]:
    """Hold a work dir while it is worked on.

    The lock goes with its file descriptor: a training process that is given it, and that outlives this
    one, still holds the work dir.

    Args:
        work_dir (Path): Of a run. The lock is a hidden file beside it, so that the folder may be
            emptied; the folder above is made.
        wait (Callable, optional): Is given a line before another process is waited for. Defaults to
            None: it is not waited for.

    Yields:
        int: File descriptor, to be passed on.

    Raises:
        ValueError: If another process holds it and is not waited for.
    """
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    file = work_dir.with_name(f'.{work_dir.name}.lock')
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if wait is None:
                raise ValueError(
                    f'another process works in {work_dir}: wait for it, or end it, and start again'
                ) from error
            wait(f'{work_dir.name}: waiting for another process that works in {work_dir}')
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
