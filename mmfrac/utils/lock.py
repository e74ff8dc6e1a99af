# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One process at a time in a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_SECONDS = 0.5


@contextmanager
def locked(
    folder: Path,
    wait: Callable[[str], Any] | None = None,
    check: Callable[[], Any] | None = None,
    file: Path | None = None,
) -> Iterator[None]:
    """Hold a folder while it is worked on; a process that ends, however it ends, lets it go.

    The lock belongs to this process alone: what it starts does not inherit it, and takes a lock of its
    own if it may outlive this process.

    Args:
        folder (Path): The lock is a hidden file beside it, so that the folder may be removed; the folder
            above is made.
        wait (Callable, optional): Is given a line before another process is waited for. Defaults to
            None: it is not waited for.
        check (Callable, optional): Called time and again while another process is waited for; an error
            that it raises ends the wait. Defaults to None.
        file (Path, optional): The lock, its folder is made. Defaults to None, the hidden file beside the
            folder.

    Raises:
        ValueError: If another process holds it and is not waited for.
    """
    file = folder.with_name(f'.{folder.name}.lock') if file is None else file
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if wait is None:
            raise ValueError(
                f'another process works in {folder}: wait for it, or end it, and start again'
            ) from error
        wait(f'{folder.name}: waiting for another process that works in {folder}')
        while not lock.is_locked:
            if check is not None:
                check()
            try:
                lock.acquire(timeout=_SECONDS)
            except Timeout:
                continue
    try:
        yield
    finally:
        lock.release()
