# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmfrac.datasets.radiographs.film_suffixes import FILM_SUFFIXES
from mmfrac.datasets.radiographs.radiograph_io import film_size

Film = str | np.ndarray
Films = str | os.PathLike | np.ndarray | Sequence[str | os.PathLike | np.ndarray]


def list_films(inputs: Films) -> list[Film]:
    """Films of files, folders and planes, in the order given, folders sorted by path.

    Folders are searched with those below them. A file with a film's suffix is taken as it is; of
    the others (DICOM files often have no suffix) those whose content is a film's. Hidden files and
    DICOMDIR indexes are left out. A file that is named itself is always taken.

    Args:
        inputs (str, PathLike, np.ndarray, or Sequence of these): Files, folders, planes ``(h, w)``.

    Returns:
        list[str | np.ndarray]: Paths and planes.

    Raises:
        FileNotFoundError: When a folder holds no film.
        ValueError: When there is no input, or one of another type.
    """
    if isinstance(inputs, (str, os.PathLike, np.ndarray)):
        inputs = [inputs]
    if not isinstance(inputs, Sequence) or not inputs:
        raise ValueError(f'films are paths, folders or planes, or a list of them, got {inputs!r}')
    films: list[Film] = []
    for item in inputs:
        if isinstance(item, np.ndarray):
            films.append(item)
        elif not isinstance(item, (str, os.PathLike)):
            raise ValueError(f'a film is a path, a folder or a plane, got {type(item).__name__}')
        elif os.path.isdir(item):
            films.extend(_films_in(Path(item)))
        else:
            films.append(os.fspath(item))
    return films


def checked_plane(plane: np.ndarray) -> np.ndarray:
    """A plane given as an array, as the loader would give it.

    Args:
        plane (np.ndarray): ``(h, w)``, float in [0, 1] or uint8, bright bone on dark lung.

    Returns:
        np.ndarray: ``(h, w)`` float32 in [0, 1].

    Raises:
        ValueError: When it has another shape, type or range.
    """
    if plane.ndim != 2 or not plane.size:
        raise ValueError(f'a film is one plane (h, w), got an array of shape {plane.shape}')
    if plane.dtype == np.uint8:
        return plane.astype(np.float32) / 255
    in_range = np.issubdtype(plane.dtype, np.floating) and 0 <= plane.min() <= plane.max() <= 1
    if not in_range:
        raise ValueError(
            f'a plane is float in [0, 1] or uint8, got {plane.dtype} from {plane.min()} to '
            f'{plane.max()}; scale it, bright bone on dark lung'
        )
    return np.ascontiguousarray(plane, dtype=np.float32)


def _films_in(folder: Path) -> list[str]:
    films = [str(path) for path in sorted(folder.rglob('*')) if path.is_file() and _is_film(path)]
    if not films:
        raise FileNotFoundError(
            f'no film in {folder}: neither a file {", ".join(FILM_SUFFIXES)} nor one without suffix '
            'that is DICOM'
        )
    return films


def _is_film(path: Path) -> bool:
    if path.name.startswith('.') or path.name == 'DICOMDIR':
        return False
    if path.suffix.lower() in FILM_SUFFIXES:
        return True
    try:
        film_size(path)
    except (OSError, ValueError):
        return False
    return True
