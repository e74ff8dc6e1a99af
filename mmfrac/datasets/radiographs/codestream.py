# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a compressed image says of itself: JPEG, JPEG-LS and JPEG 2000, before it is decoded."""

import struct
from typing import NamedTuple

_JPEG = b'\xff\xd8'

_JPEG_2000 = b'\xff\x4f\xff\x51'

# Markers of a JPEG frame header, that of JPEG-LS included; C4, C8 and CC are others.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}

_LOSSLESS_FRAMES = frozenset((0xC3, 0xC7, 0xCB, 0xCF))

_JPEG_LS_FRAME = 0xF7

JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = 'JPEG', 'lossless JPEG', 'JPEG-LS', 'JPEG 2000'


class Codestream(NamedTuple):
    """What the header of a codestream says.

    Attributes:
        kind (str): ``JPEG``, ``JPEG_LOSSLESS``, ``JPEG_LS`` or ``JPEG_2000``.
        width, height (int): px; a height of 0 follows later.
        components (int): Samples of a pixel.
        precision (int): Bits of a sample.
        is_signed (bool): Whether samples have a sign; JPEG 2000 only.
    """

    kind: str
    width: int
    height: int
    components: int
    precision: int
    is_signed: bool = False


def codestream_header(stream: bytes) -> Codestream | None:
    """Header of a codestream.

    Args:
        stream (bytes): Codestream, or the start of it; a JPEG 2000 one may be in its file format.

    Returns:
        Codestream or None: None if it is something else, or is damaged.
    """
    if stream[4:8] == b'jP  ':
        stream = stream[max(stream.find(_JPEG_2000), 0) :]
    if stream.startswith(_JPEG_2000):
        return _jpeg_2000_header(stream)
    return _jpeg_header(stream) if stream.startswith(_JPEG) else None


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Width and height (px) that a codestream says it has.

    Args:
        stream (bytes): Codestream, or the start of it.

    Returns:
        tuple[int, int] or None: None if it does not say, or is something else.
    """
    header = codestream_header(stream)
    return (header.width, header.height) if header and header.height else None


def _jpeg_2000_header(stream: bytes) -> Codestream | None:
    if len(stream) < 43:
        return None
    right, lower, left, upper = struct.unpack('>4L', stream[8:24])
    (components,) = struct.unpack('>H', stream[40:42])
    depth = stream[42]
    return Codestream(
        JPEG_2000, right - left, lower - upper, components, (depth & 0x7F) + 1, bool(depth & 0x80)
    )


def _jpeg_header(stream: bytes) -> Codestream | None:
    offset = 2
    while offset + 10 <= len(stream) and stream[offset] == 0xFF:
        marker = stream[offset + 1]
        if marker in _FRAMES:
            precision, height, width, components = struct.unpack(
                '>B2HB', stream[offset + 4 : offset + 10]
            )
            kind = JPEG_LOSSLESS if marker in _LOSSLESS_FRAMES else JPEG
            kind = JPEG_LS if marker == _JPEG_LS_FRAME else kind
            return Codestream(kind, width, height, components, precision)
        # fill bytes may stand before a marker
        offset += (
            1 if marker == 0xFF else 2 + int.from_bytes(stream[offset + 2 : offset + 4], 'big')
        )
    return None
