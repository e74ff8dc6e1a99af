# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os


def list_files(folder: str) -> list[str]:
    """Files below a folder, sorted; folders behind links are entered once.

    Args:
        folder (str): The folder.

    Returns:
        list[str]: Paths below it, with slashes.
    """
    names: list[str] = []
    entered = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True):
        for inner in list(folders):
            path = os.path.join(parent, inner)
            if os.path.islink(path):
                real = os.path.realpath(path)
                if real in entered:
                    folders.remove(inner)
                entered.add(real)
        below = os.path.relpath(parent, folder)
        names += [file if below == '.' else os.path.join(below, file) for file in files]
    return sorted(name.replace(os.sep, '/') for name in names)
