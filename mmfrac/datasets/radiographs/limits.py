# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is no radiograph by its size, whatever its file says; asked before memory is taken."""

import os
import stat

from mmfrac.datasets.radiographs.pillow import Image
from mmfrac.utils.errors import RadiographError

# Pixels at most; the largest detectors have some 2 * 10**7.
MAX_PIXELS = 10**8

MAX_PIXELS_VARIABLE = 'MMFRAC_MAX_PIXELS'

# The longer side over the shorter; a network sees nothing of a shorter one that is resized away.
MAX_SIDE_RATIO = 64

# Of a stored pixel at most: a 64-bit number, or four samples of 16 bits.
_MOST_BYTES_A_PIXEL = 8

# Of a file besides its pixels.
_REST = 2**26


def max_pixels() -> int:
    """Pixels that an image has at most.

    Returns:
        int: ``MAX_PIXELS``, or what the environment variable ``MMFRAC_MAX_PIXELS`` says.

    Raises:
        ValueError: If the variable holds no positive number.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or not int(text):
        raise ValueError(f'{MAX_PIXELS_VARIABLE} must be a number of pixels, got {text!r}')
    if Image.MAX_IMAGE_PIXELS and int(text) > Image.MAX_IMAGE_PIXELS:
        # Pillow has a limit of its own, which it only warns of up to twice of it
        Image.MAX_IMAGE_PIXELS = int(text)
    return int(text)


def max_bytes() -> int:
    """Bytes of an uncompressed file of the largest image."""
    return _MOST_BYTES_A_PIXEL * max_pixels() + _REST


def size_fault(width: int, height: int) -> str | None:
    """Why no radiograph is of a size.

    Args:
        width, height (int): px.

    Returns:
        str or None: None if one may be.
    """
    if width <= 0 or height <= 0:
        return f'its header says {width} x {height} px'
    if width * height > max_pixels():
        return (
            f'its header says {width} x {height} px, more than {max_pixels()} in all; the environment '
            f'variable {MAX_PIXELS_VARIABLE} sets another limit'
        )
    if max(width, height) > MAX_SIDE_RATIO * min(width, height):
        return f'it is no radiograph, {width} x {height} px; cut it to its image'
    return None


def check_size(path: str, width: int, height: int) -> None:
    """Do nothing if an image may be of a size.

    Args:
        path (str): Its file.
        width, height (int): px.

    Raises:
        RadiographError: If no radiograph is of it.
    """
    fault = size_fault(width, height)
    if fault:
        raise RadiographError(f"cannot read film '{path}': {fault}")


def check_file(path: str, status: os.stat_result) -> None:
    """Do nothing if there is a file to be read, whose size is one of an image.

    Args:
        path (str): The file.
        status (os.stat_result): Of it.

    Raises:
        RadiographError: If it is a folder, a pipe or the like, or too large.
    """
    if not stat.S_ISREG(status.st_mode):
        kinds = (
            (stat.S_ISDIR, 'a folder'),
            (stat.S_ISFIFO, 'a pipe'),
            (stat.S_ISSOCK, 'a socket'),
        )
        kind = next((name for is_kind, name in kinds if is_kind(status.st_mode)), 'a device')
        raise RadiographError(f"cannot read film '{path}': it is {kind}, no file")
    if status.st_size > max_bytes():
        raise RadiographError(
            f"cannot read film '{path}': it has {status.st_size} bytes, more than an image of "
            f'{max_pixels()} px; the environment variable {MAX_PIXELS_VARIABLE} sets another limit'
        )
