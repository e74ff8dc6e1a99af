# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What holds for every image that is read, of whatever kind."""

from pathlib import Path

import numpy as np

from mmfrac.datasets.radiographs.read import image_size, read_radiograph
from mmfrac.utils.errors import RadiographError
from tests.fuzz.engine import WrongError


def checked_plane(path: Path) -> tuple[np.ndarray, list[str]]:
    """Plane (h, w) of an image, and what its reader was not sure of.

    Raises:
        WrongError: If it is no float32 in [0, 1], or has another size than the header alone gave.
    """
    try:
        size = image_size(path)
    except RadiographError:
        size = None
    notes: list[str] = []
    plane = read_radiograph(path, notes)
    if not (plane.dtype == np.float32 and np.isfinite(plane).all()):
        raise WrongError(f'{plane.dtype}, or not finite')
    if plane.min() < 0 or plane.max() > 1:
        raise WrongError(f'from {plane.min()} to {plane.max()}')
    if size is not None and size != plane.shape[::-1]:
        raise WrongError(f'size {size}, {plane.shape[::-1]} when read')
    return plane, notes
