# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Any film file as a float32 plane in [0, 1]; what a file is, is asked here and nowhere else."""

import os
import re
import stat
import warnings
from typing import BinaryIO

import numpy as np

from mmfrac.datasets.radiographs.dicom import dicom_size, looks_like_dicom, read_dicom
from mmfrac.datasets.radiographs.limits import check_file, check_size
from mmfrac.datasets.radiographs.raster import is_raster, open_image, read_raster, upright_size
from mmfrac.utils.errors import RadiographError, RadiographWarning, one_line

IMAGE_SUFFIXES = ('.dcm', '.dicom', '.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')

"""Suffixes of film files, tried in this order where a set names its films without; DICOM files often
have none, or what looks like one in a UID."""

OTHER_SUFFIX = re.compile(r'\.[A-Za-z]\w{0,5}')
"""Suffix of a file that is none, if it is not one of ``IMAGE_SUFFIXES``; a UID ends with a number."""

# How devices and media name instances: UIDs ('CR.1.2.840.5'), 'IM000001', 'IMG_12', '00000001'.
_INSTANCE_NAME = re.compile(
    r'([A-Z]{1,5}[._-])?\d+(\.\d+){3,}|(I|IM|IMG|IMAGE|CR|DX|DR|XR|RG)[._-]?\d+|00\d+',
    re.IGNORECASE,
)

__all__ = [
    'VALUES_VERSION',
    'RadiographError',
    'image_size',
    'is_marked_image',
    'read_radiograph',
]

# Of the values that read_radiograph gives: raise it with any change of them, or film caches written
# before go on being used.
VALUES_VERSION = 7

_DICOM_MAGIC = b'DICM'

_DICOM_PREAMBLE = 128

_RASTER_MAGIC = (
    *(b'\x89PNG\r\n', b'\xff\xd8\xff', b'II*\0', b'MM\0*'),
    *(b'II+\0', b'MM\0+'),  # large TIFF
)


def read_radiograph(path: str | os.PathLike, notes: list[str] | None = None) -> np.ndarray:
    """Read one film as the reader of radiographs sees it: bright bone on dark lung.

    The content decides, not the suffix: DICOM with or without preamble, else PNG, TIFF, JPEG, BMP,
    GIF, PPM, WebP or JPEG 2000. The depth of the file is kept, nothing passes through 8 bits. The
    scales are those of :func:`read_dicom` and :func:`read_raster`.

    Whatever a file does to its reader is its own error: codecs that may crash or hang run in a process
    beside this one, with a limit in time and memory, and images of more than 10**8 px (environment
    variable ``MMFRAC_MAX_PIXELS``) are refused before memory is taken.

    Args:
        path (str or os.PathLike): The film's file.
        notes (list[str], optional): What is doubtful of the image is added, a sentence each. Defaults
            to None: they are warned of.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1], C-contiguous and writeable.

    Raises:
        FileNotFoundError: If there is no such file.
        RadiographError: If the file cannot be read as one film.
    """
    path = os.fspath(path)
    found: list[str] = []
    try:
        plane = _read(path, found)
    except (FileNotFoundError, RadiographError):
        raise
    except MemoryError as error:
        raise RadiographError(f"cannot read film '{path}': not enough memory for it") from error
    except Exception as error:  # any bytes at all come here, through many libraries
        raise _damaged(path, error) from error
    if notes is not None:
        notes += found
        return plane
    for note in found:
        warnings.warn(f"film '{path}': {note}", RadiographWarning, stacklevel=2)
    return plane


def _read(path: str, notes: list[str]) -> np.ndarray:
    with _opened(path) as file:
        is_dicom = _is_dicom(path, file)
        file.seek(0)
        return (read_dicom if is_dicom else read_raster)(path, file, notes)


def _damaged(path: str, error: Exception) -> RadiographError:
    return RadiographError(
        f"cannot read film '{path}': damaged file ({one_line(error)}); copy it anew"
    )


def is_marked_image(path: str | os.PathLike) -> bool:
    """Whether a file begins as a DICOM, PNG, JPEG or TIFF file does, however it goes on.

    Args:
        path (str or os.PathLike): Of a file, or of something else, which is none.
    """
    try:
        with _opened(os.fspath(path)) as file:
            head = file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))
    except (OSError, ValueError):
        return False
    return head[_DICOM_PREAMBLE:] == _DICOM_MAGIC or head.startswith(_RASTER_MAGIC)


def is_image(path: str | os.PathLike) -> bool:
    """Whether a file found in a folder is taken for an image.

    A file with a film's suffix is, broken links and pipes included: each gets an error of its own. Of
    the others (DICOM files often have no suffix) those are whose content is, or begins like, a film's;
    and, if they have no suffix of another kind, those that cannot be opened, and empty ones that are
    named as devices name images. Hidden files and DICOMDIR indexes are not.

    Args:
        path (str or PathLike): The file.
    """
    name = os.path.basename(path)
    if name.startswith('.') or name == 'DICOMDIR':
        return False
    suffix = os.path.splitext(name)[1]
    if suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        image_size(path)
    except (OSError, ValueError):
        is_other = bool(OTHER_SUFFIX.fullmatch(suffix))
        return is_marked_image(path) or (not is_other and _may_be_image(path, name))
    return True


def _may_be_image(path: str | os.PathLike, name: str) -> bool:
    """Whether a file of which nothing can be read may be an image, and has an error of its own."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return False
        if not status.st_size:
            return bool(_INSTANCE_NAME.fullmatch(name))
        with open(path, 'rb') as file:
            file.read(1)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


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
        check_size(path, *size)
        return size
    with _opened(path) as file:
        if _is_dicom(path, file):
            return dicom_size(path)
    try:
        with open_image(path) as image:
            size = upright_size(image)
    except Exception as error:  # as above
        raise RadiographError(
            f"cannot read film '{path}': damaged header ({one_line(error)})"
        ) from error
    check_size(path, *size)
    return size


def _size_at_first_sight(path: str) -> tuple[int, int] | None:
    """Size of a sound PNG, TIFF or JPEG, opened once; None for anything else.

    Converters read hundreds of thousands of headers, and opening is most of the time.
    """
    try:
        with _opened(path) as file:
            if file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))[_DICOM_PREAMBLE:] == _DICOM_MAGIC:
                return None
            file.seek(0)
            with open_image(file) as image:
                return upright_size(image)
    except (FileNotFoundError, RadiographError):
        raise
    except Exception:
        return None


def _opened(path: str) -> BinaryIO:
    try:
        # before it is opened, which waits for whoever writes to a pipe
        check_file(path, os.stat(path))
        return open(path, 'rb')
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no film '{path}': there is no such file (of a data set: check its data_root and "
            'data_prefix)'
        ) from error
    except RadiographError:
        raise
    except PermissionError as error:
        raise RadiographError(
            f"cannot read film '{path}': permission denied: make it readable"
        ) from error
    except (OSError, ValueError) as error:
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
    if head.startswith(_RASTER_MAGIC) or is_raster(path):
        return False
    if looks_like_dicom(path):
        return True
    raise RadiographError(
        f"cannot read film '{path}': neither DICOM nor an image, it starts with {head[:8]!r}; "
        'DICOM, PNG, TIFF and JPEG are read'
    )
