# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any film file as a float32 plane in [0, 1]; what a file is, is asked here and nowhere else."""

import os
from typing import BinaryIO

import numpy as np
from PIL import Image

from mmfrac.datasets.radiographs.dicom import dicom_size, looks_like_dicom, read_dicom
from mmfrac.datasets.radiographs.raster import is_raster, read_raster, upright_size
from mmfrac.utils.errors import RadiographError

IMAGE_SUFFIXES = ('.dcm', '.dicom', '.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')

"""Suffixes of film files, tried in this order where a set names its films without; DICOM files often
have none, or what looks like one in a UID."""

__all__ = ['VALUES_VERSION', 'RadiographError', 'image_size', 'read_radiograph']

# Of the values that read_radiograph gives: raise it with any change of them, or film caches written
# before go on being used.
VALUES_VERSION = 2

_DICOM_MAGIC = b'DICM'

_DICOM_PREAMBLE = 128


def read_radiograph(path: str | os.PathLike) -> np.ndarray:
    """Read one film as the reader of radiographs sees it: bright bone on dark lung.

    The content decides, not the suffix: DICOM with or without preamble, else PNG, TIFF, JPEG or
    whatever else Pillow reads. The depth of the file is kept, nothing passes through 8 bits. The
    scales are those of :func:`read_dicom` and :func:`read_raster`.

    Args:
        path (str or os.PathLike): The film's file.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1], C-contiguous and writeable.

    Raises:
        FileNotFoundError: If there is no such file.
        RadiographError: If the file cannot be read as one film.
    """
    path = os.fspath(path)
    with _opened(path) as file:
        if _is_dicom(path, file):
            file.seek(0)
            return read_dicom(path, file)
    return read_raster(path)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height of a film from its header, pixels untouched.

    Args:
        path (str or os.PathLike): The film's file.

    Returns:
        tuple[int, int]: (width, height) in px.

    Raises:
        FileNotFoundError: If there is no such file.
        RadiographError: If the header cannot be read.
    """
    path = os.fspath(path)
    size = _size_at_first_sight(path)
    if size is not None:
        return size
    with _opened(path) as file:
        if _is_dicom(path, file):
            return dicom_size(path)
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RadiographError(f"cannot read film '{path}': damaged header ({error})") from error


def _size_at_first_sight(path: str) -> tuple[int, int] | None:
    """Size of a sound PNG, TIFF or JPEG, opened once; None for anything else.

    Converters read hundreds of thousands of headers, and opening is most of the time.
    """
    try:
        with open(path, 'rb') as file:
            if file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))[_DICOM_PREAMBLE:] == _DICOM_MAGIC:
                return None
            file.seek(0)
            with Image.open(file) as image:
                return upright_size(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, 'rb')
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no film '{path}': check data_root and data_prefix of the dataset"
        ) from error
    except OSError as error:
        raise RadiographError(f"cannot read film '{path}': {error}") from error


def _is_dicom(path: str, file: BinaryIO) -> bool:
    try:
        head = file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))
    except OSError as error:
        raise RadiographError(f"cannot read film '{path}': {error}") from error
    if not head:
        raise RadiographError(f"cannot read film '{path}': the file is empty; copy it anew")
    if head[_DICOM_PREAMBLE:] == _DICOM_MAGIC:
        return True
    if is_raster(path):
        return False
    if looks_like_dicom(path):
        return True
    raise RadiographError(
        f"cannot read film '{path}': neither DICOM nor an image, it starts with {head[:8]!r}; "
        'DICOM, PNG, TIFF and JPEG are read'
    )
