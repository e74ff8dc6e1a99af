# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files of a folder and of those below it."""

import os
from collections.abc import Iterator


def files_below(folder: str | os.PathLike) -> Iterator[str]:
    """Files below a folder, folder by folder, sorted; each is found once.

    Folders behind links are entered unless they lie in what is searched anyway, or hold it.

    Args:
        folder (str or PathLike): The folder.

    Yields:
        str: Path that begins with the folder. Links that lead nowhere, pipes and devices are among them.
    """
    folder = os.fspath(folder)
    entered = [os.path.realpath(folder)]
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in list(folders):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                continue
            real = os.path.realpath(path)
            if any(_holds(real, other) or _holds(other, real) for other in entered):
                folders.remove(name)
            else:
                entered.append(real)
        for name in sorted(files):
            yield os.path.join(parent, name)


def _holds(folder: str, other: str) -> bool:
    return os.path.commonpath([folder, other]) == folder
