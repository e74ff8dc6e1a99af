# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether the pixels of a DICOM film are as many as Rows and Columns say."""

import struct

from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

from mmfrac.datasets.radiographs.dicom_header import (
    BITS_ALLOCATED,
    COLUMNS,
    ROWS,
    SAMPLES_PER_PIXEL,
    short,
)

_PIXEL_DATA = BaseTag(0x7FE00010)
_ITEM = b'\xfe\xff\x00\xe0'
# Markers of a JPEG frame header, that of JPEG-LS included; C4, C8 and CC are others.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def extent_fault(ds: FileDataset) -> str | None:
    """How the size in the header contradicts the pixels.

    A film of too many native pixels comes out sheared, or is the first of several frames; a codec that
    meets another size than it was told shears the film, too, or ends the process. Of RLE the size is
    not known before it is decoded.

    Args:
        ds (FileDataset): Film, its pixels unread.

    Returns:
        str or None: None if they agree, or nothing can be told.
    """
    rows, columns = short(ds, ROWS), short(ds, COLUMNS)
    element = ds.get_item(_PIXEL_DATA)
    content = element.value if element is not None else None
    syntax = ds.file_meta.TransferSyntaxUID
    if not rows or not columns or not isinstance(content, bytes) or not syntax.is_transfer_syntax:
        return None
    if syntax.is_encapsulated:
        size = codestream_size(_first_fragment(content))
        if size in (None, (columns, rows)):
            return None
        return f'its header says {columns} x {rows} px, its pixels are {size[0]} x {size[1]} px'
    if ds.get('PhotometricInterpretation') == 'YBR_FULL_422':
        return None
    row = columns * (short(ds, SAMPLES_PER_PIXEL, 1) or 1) * (short(ds, BITS_ALLOCATED) or 0) // 8
    rest = content[row * rows :]
    # Trailing bytes are common, rows of them are none; one value over and over is a filler.
    if not row or len(rest) < row or rest.count(rest[:1]) == len(rest):
        return None
    return (
        f'its header says {columns} x {rows} px, {row * rows} bytes, but there are {len(content)}: '
        'Rows or Columns are wrong, or it has several frames'
    )


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Width and height (px) that a JPEG, JPEG-LS or JPEG 2000 codestream says it has.

    Args:
        stream (bytes): Codestream, or the start of it.

    Returns:
        tuple[int, int] or None: None if it does not say, or is something else.
    """
    if stream.startswith(b'\xff\x4f\xff\x51') and len(stream) >= 24:
        right, lower, left, upper = struct.unpack('>4L', stream[8:24])
        return right - left, lower - upper
    if not stream.startswith(b'\xff\xd8'):
        return None
    place = 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack('>2H', stream[place + 5 : place + 9])
            return (width, height) if height else None
        # fill bytes may stand before a marker
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4], 'big')
    return None


def _first_fragment(content: bytes) -> bytes:
    """What follows the table of offsets, at most 64 KB of it."""
    if content[:4] != _ITEM:
        return b''
    start = 8 + int.from_bytes(content[4:8], 'little')
    return content[start + 8 : start + 8 + 2**16] if content[start : start + 4] == _ITEM else b''
