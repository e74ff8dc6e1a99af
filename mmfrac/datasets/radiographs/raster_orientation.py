# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How a JPEG or TIFF film is to be turned before it is looked at (EXIF orientation)."""

import io

import numpy as np
from PIL import Image

_ORIENTATION = 274
_WIDTH, _HEIGHT = 256, 257
_FORMATS = ('JPEG', 'MPO', 'TIFF')
# From this one on rows are columns.
_FIRST_ACROSS = 5


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8.

    Args:
        image (Image): Just opened.

    Returns:
        int: 1 where the file does not say, or says something else.
    """
    if image.format not in _FORMATS:
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data, of which nothing else is wanted
        return 1
    return orientation if orientation in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height (px) of the film when it is turned.

    Args:
        image (Image): Just opened.
    """
    width, height = image.size
    if image.format == 'TIFF':
        # Pillow's own size is turned or not, by its version
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[_WIDTH], tags[_HEIGHT]
    return (height, width) if orientation_of(image) >= _FIRST_ACROSS else (width, height)


def upright(plane: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a plane as stored, (h, w), C-contiguous."""
    if orientation >= _FIRST_ACROSS:
        plane = plane.T
    # where the first row and column of the (transposed) plane belong
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)


def copy_in_memory(path: str) -> Image.Image:
    """A TIFF that Pillow turns when it is loaded; mapped from disk it would come out sheared."""
    with open(path, 'rb') as file:
        return Image.open(io.BytesIO(file.read()))
