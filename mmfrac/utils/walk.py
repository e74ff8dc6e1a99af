# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files of a folder and of those below it."""

import os
import re
from collections.abc import Iterator

# of file systems, bins and snapshots, whose owners are others
_OF_THE_SYSTEM = re.compile(
    r'lost\+found|System Volume Information|\$RECYCLE\.BIN|\.Trash.*|[.#@~]?snapshots?|[#@]recycle'
    r'|\.Spotlight-V100|\.fseventsd|\.DocumentRevisions-V100|\.TemporaryItems|@eaDir'
)


def files_below(folder: str | os.PathLike, hidden: bool = True) -> Iterator[str]:
    """Files below a folder, folder by folder, sorted; each is found once.

    Folders behind links are entered once, unless they lie in the folder anyway, or hold it.

    Args:
        folder (str or PathLike): The folder.
        hidden (bool): Enter folders whose name begins with a dot, too. Defaults to True.

    Yields:
        str: Path that begins with the folder. Links that lead nowhere, pipes and devices are among them.

    Raises:
        OSError: If the files of a folder cannot be listed: a part of them would pass for all. Only
            folders that a system keeps for itself (``lost+found``, bins, snapshots) are left out then.
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
        folders[:] = sorted(name for name in folders if hidden or not name.startswith('.'))
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
    name = os.path.basename(error.filename)
    if isinstance(error, PermissionError) and _OF_THE_SYSTEM.fullmatch(name):
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
