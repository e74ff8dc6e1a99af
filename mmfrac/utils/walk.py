# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files of a folder and of those below it."""

import os
from collections.abc import Iterator


def files_below(folder: str | os.PathLike) -> Iterator[str]:
    """Files below a folder, folder by folder, sorted; each is found once.

    Folders behind links are entered once, unless they lie in the folder anyway, or hold it.

    Args:
        folder (str or PathLike): The folder.

    Yields:
        str: Path that begins with the folder. Links that lead nowhere, pipes and devices are among them.
    """
    folder = os.fspath(folder)
    root = os.path.realpath(folder)
    entered = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
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


def _holds(folder: str, other: str) -> bool:
    return os.path.commonpath([folder, other]) == folder
