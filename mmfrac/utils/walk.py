# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files of a folder and of those below it."""

import os
from collections.abc import Iterator

# on a disk's uppermost folder, for administrators alone
_OF_THE_SYSTEM = ('lost+found', 'System Volume Information', '$RECYCLE.BIN')


def files_below(folder: str | os.PathLike) -> Iterator[str]:
    """Files below a folder, folder by folder, sorted; each is found once.

    Folders behind links are entered once, unless they lie in the folder anyway, or hold it.

    Args:
        folder (str or PathLike): The folder.

    Yields:
        str: Path that begins with the folder. Links that lead nowhere, pipes and devices are among them.

    Raises:
        OSError: If the files of a folder cannot be listed: a part of them would pass for all. Only
            folders that a system keeps on each disk (``lost+found``) are left out then.
    """
    folder = os.fspath(folder)
    root = os.path.realpath(folder)
    entered = set()
    for parent, folders, files in os.walk(folder, onerror=_not_listed, followlinks=True):
        here = os.path.realpath(parent)
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders.sort()
        for name in list(folders):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                continue
            real = os.path.realpath(path)
            if _holds(real, root) or _holds(root, real):
                folders.remove(name)
        for name in sorted(files):
            yield os.path.join(parent, name)


def _not_listed(error: OSError) -> None:
    if isinstance(error, PermissionError) and os.path.basename(error.filename) in _OF_THE_SYSTEM:
        return
    raise OSError(
        f'the files of folder {error.filename} cannot be listed ({error.strerror}), so some would be '
        'missing: make it readable, or name folders that are'
    ) from error


def lies_in(path: str | os.PathLike, folder: str | os.PathLike) -> bool:
    """Whether a path is a folder or lies below it, links followed.

    Args:
        path (str or PathLike): Of a file or folder.
        folder (str or PathLike): The folder.
    """
    return _holds(os.path.realpath(folder), os.path.realpath(path))


def _holds(folder: str, other: str) -> bool:
    return os.path.commonpath([folder, other]) == folder
