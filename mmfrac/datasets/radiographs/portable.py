# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Portable bitmaps, graymaps and pixmaps (PBM, PGM, PPM): what Pillow decodes in Python, and slowly."""

import re
from typing import BinaryIO

import numpy as np

from mmfrac.datasets.radiographs.pillow import Image
from mmfrac.datasets.radiographs.raster_check import RasterError

# Bytes of a header with its comments.
_SHORT_HEADER, _LONGEST_HEADER = 2**9, 2**16

_MAGIC = re.compile(rb'P[1-6fy]')

# Bytes of text at most: for each sample, and besides.
_TEXT_OF_SAMPLE, _TEXT = 16, 2**16

_SPACES, _DIGITS = b' \t\n\v\f\r', b'0123456789'


def check_portable_header(file: BinaryIO) -> None:
    """Do nothing if a file has a header that does not go on and on, which takes Pillow long to read.

    Args:
        file (BinaryIO): Is left at its start.

    Raises:
        RasterError: If its size does not stand at its start.
    """
    file.seek(0)
    head = file.read(2)
    if _MAGIC.fullmatch(head):
        # nearly every header is short
        for length in (_SHORT_HEADER, _LONGEST_HEADER):
            head += file.read(length - len(head))
            if _has_header(head) or len(head) < length:
                break
        else:
            raise RasterError(
                f'its header is longer than {_LONGEST_HEADER} bytes; leave its comments out'
            )
    file.seek(0)


def _has_header(head: bytes) -> bool:
    """Whether width and height are in it, and the value of white unless it is a bitmap."""
    parts = 3 if head[:2] in (b'P1', b'P4') else 4
    return len(re.sub(rb'#[^\r\n]*', b'', head).split(None, parts - 1)) == parts


def is_slow_portable(image: Image.Image) -> bool:
    """Whether Pillow would decode an image sample by sample."""
    tiles = image.tile  # type: ignore[attr-defined]
    return bool(tiles) and tiles[0][0] in ('ppm', 'ppm_plain')


def check_one_portable(image: Image.Image, file: BinaryIO) -> None:
    """Do nothing if a binary file holds no further image.

    Args:
        image (Image): The first one, of which only the header is read.
        file (BinaryIO): The file.

    Raises:
        RasterError: If another image follows.
    """
    decoder, _, offset, options = image.tile[0]  # type: ignore[attr-defined]
    if decoder == 'ppm_plain':
        return
    is_deep = decoder == 'ppm' and options[1] >= 2**8
    length = 4 if image.mode == 'F' else 2 if is_deep or image.mode == 'I' else 1
    row = image.width * len(image.getbands()) * length
    if image.mode == '1':
        row = -(-image.width // 8)
    file.seek(offset + row * image.height)
    if _MAGIC.fullmatch(file.read(2)):
        raise RasterError(
            'it holds several images, a film is one; save the one that is the film as a file of its own'
        )


def portable_samples(image: Image.Image, file: BinaryIO) -> np.ndarray:
    """Stored values of such an image, scaled as Pillow does.

    Args:
        image (Image): Of which only the header is read.
        file (BinaryIO): Its file.

    Returns:
        np.ndarray: (h, w) or (h, w, 3), uint8, uint16 (of more than 255 values) or bool.

    Raises:
        RasterError: If it has too few samples, too large ones, or others than numbers.
    """
    decoder, _, offset, options = image.tile[0]  # type: ignore[attr-defined]
    bands = len(image.getbands())
    shape = (image.height, image.width, bands)[: 3 if bands > 1 else 2]
    count = image.width * image.height * bands
    file.seek(offset)
    if image.mode == '1':
        return (_digits(_text(file, count), count) == ord('0')).reshape(shape)
    most = int(options[1])
    if decoder == 'ppm':
        kind = np.dtype('u1' if most < 2**8 else '>u2')
        samples = np.frombuffer(file.read(count * kind.itemsize), kind)
    else:
        samples = _numbers(_text(file, count))
    if samples.size < count:
        raise RasterError(
            f'truncated: its header says {image.width} x {image.height} px, {count} samples, but there '
            f'are {samples.size}; copy it anew from its source'
        )
    samples = samples[:count]
    highest = int(samples.max())
    if highest > most:
        raise RasterError(
            f'damaged: its header says {most} for white, but there is {highest}; copy it anew from its '
            'source'
        )
    scaled = np.rint(np.arange(most + 1) / most * (2**8 - 1 if most < 2**8 else 2**16 - 1))
    table = scaled.astype(np.uint8 if most < 2**8 else np.uint16)
    return table[samples].reshape(shape)


def _text(file: BinaryIO, count: int) -> bytes:
    """Text of so many samples, without its comments."""
    most = _TEXT_OF_SAMPLE * count + _TEXT
    text = file.read(most + 1)
    if len(text) > most:
        raise RasterError(f'it has more than {most} bytes of text for {count} samples')
    return re.sub(rb'#[^\r\n]*', b'', text) if b'#' in text else text


def _digits(text: bytes, count: int) -> np.ndarray:
    """Samples of one digit, (count,)."""
    found = np.frombuffer(text.translate(None, _SPACES), np.uint8)[:count]
    if found.size < count:
        raise RasterError(f'truncated: of its {count} samples there are {found.size}')
    if not np.isin(found, (ord('0'), ord('1'))).all():
        raise RasterError('damaged: its samples are others than 0 and 1')
    return found


def _numbers(text: bytes) -> np.ndarray:
    """Samples (n,) of any number of digits."""
    if text.translate(None, _SPACES + _DIGITS):
        raise RasterError('damaged: its samples are others than numbers')
    if not text.translate(None, _SPACES):
        return np.zeros(0, np.int64)
    return np.fromstring(text, np.int64, sep=' ')
