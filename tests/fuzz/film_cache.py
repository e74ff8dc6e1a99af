# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files of the film cache, of codes and of floats."""

from pathlib import Path

import numpy as np

from mmfrac.datasets.film_cache.cached_file import (
    CachedFile,
    CachedFileError,
    CachedImage,
    SourceState,
    write_entry,
)
from mmfrac.utils.errors import RadiographError
from tests.fuzz.dicom import _film
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register


def seeds(folder: Path) -> list[Path]:
    """One entry of each form."""
    rng = np.random.default_rng(0)
    planes = dict(
        codes8=_film(1, np.uint8, 255).astype(np.float32) / 255,
        codes16=_film(2, np.uint16, 60_000).astype(np.float32) / 65535,
        floats=rng.random((300, 320), np.float32),
    )
    for name, plane in planes.items():
        write_entry(
            str(folder / name), CachedImage(plane, (2 * plane.shape[0], 99), SourceState(7, 9))
        )
    return [folder / name for name in planes]


def read(path: Path, source: Path) -> tuple[str, int]:
    """Read; nothing but what was written may come out."""
    try:
        found = CachedFile(str(path)).read()
    except CachedFileError as error:
        # its caller names the file
        raise RadiographError(f'{path}: {error}') from error
    expected = CachedFile(str(source)).read()
    same = found.image.tobytes() == expected.image.tobytes() and found[1:] == expected[1:]
    if not same or found.image.shape != expected.image.shape:
        raise WrongError('another image')
    return 'read', found.image.nbytes


KIND = register(Kind('film_cache', seeds, damage_bytes, read, (RadiographError,)))
