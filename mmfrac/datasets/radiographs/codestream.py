# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a compressed image says of itself: JPEG, JPEG-LS and JPEG 2000, before it is decoded."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_JPEG = b'\xff\xd8'

_JPEG_2000 = b'\xff\x4f\xff\x51'

# Markers of JPEG 2000: the start of a part of a tile, and how all tiles are coded.
_TILE_PART, _CODING_STYLE = 0x90, 0x52

# Those of one component, of a faster code (HTJ2K) and of another order.
_OTHER_CODING_STYLE, _CAPABILITIES, _OTHER_ORDER = 0x53, 0x50, 0x5F

# Bits of the code blocks' style: pixels that are not coded, or in another code.
_RAW = 0x41

# Zeros that are no data.
_GAP = 1024

END_OF_IMAGE = b'\xff\xd9'

_MORE_DATA = 256 * b'\x5a\x13'

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
        transform (str): What its colours are stored as, ``YBR_ICT`` or ``YBR_RCT``; '' where they are
            stored as they are, and where it is no JPEG 2000.
    """

    kind: str
    width: int
    height: int
    components: int
    precision: int
    is_signed: bool = False
    transform: str = ''


def codestream_header(stream: bytes) -> Codestream | None:
    """Header of a codestream.

    Args:
        stream (bytes): Codestream, or the start of it; a JPEG 2000 one may be in its file format.

    Returns:
        Codestream or None: None if it is something else, or is damaged.
    """
    stream = _without_file_format(stream)
    if stream.startswith(_JPEG_2000):
        return _jpeg_2000_header(stream)
    return _jpeg_header(stream) if stream.startswith(_JPEG) else None


def tile_fault(stream: bytes) -> str | None:
    """Which tiles of a JPEG 2000 codestream are missing; decoders leave them black without a word.

    Args:
        stream (bytes): Codestream, all of it; may be in the file format of JPEG 2000.

    Returns:
        str or None: None if all are there, or if it is something else.
    """
    stream = _without_file_format(stream)
    if not stream.startswith(_JPEG_2000) or len(stream) < 43:
        return None
    right, lower, _, _, width, height, left, upper = struct.unpack('>8L', stream[8:40])
    if not width or not height:
        return 'damaged: its tiles have no size'
    tiles = -(-(right - left) // width) * -(-(lower - upper) // height)
    found: dict[int, int] = {}
    declared: dict[int, int] = {}
    offset = next((at for at, marker in _main_header(stream) if marker == _TILE_PART), len(stream))
    while stream[offset : offset + 2] == b'\xff\x90' and offset + 12 <= len(stream):
        tile, length, _, parts = struct.unpack('>HL2B', stream[offset + 4 : offset + 12])
        found[tile] = found.get(tile, 0) + 1
        declared[tile] = max(declared.get(tile, 0), parts)
        # one without a length is the last one
        offset += length or len(stream)
    missing = tiles - len(found)
    if missing > 0:
        return f'truncated: {missing} of its {tiles} tiles are missing'
    cut = sum(found[tile] < declared[tile] for tile in found)
    return f'truncated: parts of {cut} of its {tiles} tiles are missing' if cut else None


def gap_fault(stream: bytes) -> str | None:
    """Whether zeros stand in the place of JPEG 2000 data; decoders take them for empty.

    Args:
        stream (bytes): Codestream, all of it; may be in the file format of JPEG 2000.

    Returns:
        str or None: None if there are none, if they may be data, or if it is something else.
    """
    stream = _without_file_format(stream)
    if not stream.startswith(_JPEG_2000) or len(stream) < 43:
        return None
    right, lower, left, upper = struct.unpack('>4L', stream[8:24])
    width, height = struct.unpack('>2L', stream[24:32])
    width, height = min(width, right - left), min(height, lower - upper)
    most = _GAP
    for offset, marker in _main_header(stream):
        if marker == _CODING_STYLE and offset + 14 <= len(stream):
            layers, levels = (
                int.from_bytes(stream[offset + 6 : offset + 8], 'big'),
                stream[offset + 9],
            )
            if stream[offset + 12] & _RAW:
                return None
            # a packet of nothing is a zero: as many as all packets of a tile are none of a gap
            sizes = stream[offset + 14 : offset + 15 + levels] if stream[offset + 4] & 1 else b''
            packets = levels + 1
            for level, size in enumerate(sizes):
                columns, rows = (
                    (side >> (levels - level) >> power) + 2
                    for side, power in ((width, size & 15), (height, size >> 4))
                )
                packets += columns * rows
            most = max(most, layers * packets * int.from_bytes(stream[40:42], 'big'))
        # packets or parts of another kind
        if marker in (_OTHER_CODING_STYLE, _CAPABILITIES, _OTHER_ORDER):
            return None
    if len(stream) <= most or bytes(most) not in stream:
        return None
    return f'damaged: more than {most} zeros stand in the place of its pixels'


def is_next_image(before: bytes, start: bytes) -> bool:
    """Whether a further image starts, and not a preview within one.

    Args:
        before (bytes): The last bytes before; zeros may fill them.
        start (bytes): The first bytes.
    """
    is_start = start.startswith((_JPEG_2000, _JPEG + b'\xff'))
    return is_start and before.rstrip(b'\0').endswith(END_OF_IMAGE)


def with_more_data(stream: bytes) -> bytes:
    """A JPEG with further data before its end mark, which change nothing where no pixel is missing."""
    end = stream.rfind(END_OF_IMAGE)
    return stream[:end] + _MORE_DATA + stream[end:] if end >= 0 else stream


def _without_file_format(stream: bytes) -> bytes:
    if stream[4:8] == b'jP  ':
        return stream[max(stream.find(_JPEG_2000), 0) :]
    return stream


def _main_header(stream: bytes) -> Iterator[tuple[int, int]]:
    """Where each marker of a JPEG 2000 codestream is, and its code, to the first part of a tile."""
    offset = 2
    while offset + 4 <= len(stream) and stream[offset] == 0xFF:
        yield offset, stream[offset + 1]
        if stream[offset + 1] == _TILE_PART:
            return
        offset += 2 + int.from_bytes(stream[offset + 2 : offset + 4], 'big')


def _jpeg_2000_header(stream: bytes) -> Codestream | None:
    if len(stream) < 43:
        return None
    right, lower, left, upper = struct.unpack('>4L', stream[8:24])
    (components,) = struct.unpack('>H', stream[40:42])
    depth, transform = stream[42], ''
    for offset, marker in _main_header(stream):
        if marker == _CODING_STYLE and offset + 14 <= len(stream) and stream[offset + 8]:
            transform = 'YBR_RCT' if stream[offset + 13] == 1 else 'YBR_ICT'
    return Codestream(
        *(JPEG_2000, right - left, lower - upper, components),
        *((depth & 0x7F) + 1, bool(depth & 0x80), transform),
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
