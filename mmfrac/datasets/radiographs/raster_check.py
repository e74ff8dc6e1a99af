# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether an image file holds all rows of its width, which decoders fill or shear without a word."""

import io
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import numpy as np

from mmfrac.datasets.radiographs.codestream import with_more_data
from mmfrac.datasets.radiographs.pillow import Image


class RasterError(ValueError):
    """What is wrong with an image file, without its name."""


_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'

_PNG_HEAD = 8

# Of a PNG at most: parts of pixels, and others, each of which Pillow takes time for.
_MOST_PNG_PIXELS, _MOST_PNG_PARTS = 2**16, 2**10

# Bytes of compressed pixels that hold no row of their own: the end of their last one, and a checksum.
_PNG_END = 16

# Compressed pixels that are inflated to be counted, for nothing else, whatever is seen of them.
_PNG_SMALL = 2048

# What stands in the last row of an image until it is decoded.
_UNDECODED = {
    'L': 0xA5,
    'P': 0xA5,
    'I;16': 0xA5A5,
    'LA': (0xA5,) * 2,
    'RGB': (0xA5,) * 3,
    'RGBA': (0xA5,) * 4,
}

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# Adam7: start and step of columns and rows
_PASSES = (
    *((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4)),
    *((0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
)


def check_png_header(file: IO[bytes]) -> None:
    """Do nothing if a file has no PNG header that goes on and on.

    Args:
        file (IO[bytes]): At its start, where it is left.

    Raises:
        RasterError: If it has too many parts.
    """
    if file.read(_PNG_HEAD) == _PNG_MAGIC:
        for _ in range(_MOST_PNG_PARTS):
            head = file.read(8)
            if len(head) < 8 or head[4:] == b'IDAT':
                break
            file.seek(4 + int.from_bytes(head[:4], 'big'), io.SEEK_CUR)
        else:
            raise RasterError(f'{_TOO_MANY_PNG_PARTS}; copy it anew from its source')
    file.seek(0)


_TOO_MANY_PNG_PARTS = (
    f'it has more than {_MOST_PNG_PARTS} parts besides its pixels, or {_MOST_PNG_PIXELS} of these'
)


def png_fault(content: bytes, exactly: bool = False) -> str | None:
    """What is wrong with the chunks of a PNG.

    Args:
        content (bytes): The file.
        exactly (bool): Inflate the pixels to count them. Defaults to False, that is left to
            :func:`whole_png`.

    Returns:
        str or None: None if all are there, as they were written.
    """
    view = memoryview(content)
    pixels = others = 0
    try:
        for name, start, end in _png_chunks(content):
            pixels, others = pixels + (name == b'IDAT'), others + (name != b'IDAT')
            if pixels > _MOST_PNG_PIXELS or others > _MOST_PNG_PARTS:
                return _TOO_MANY_PNG_PARTS
            (checksum,) = struct.unpack('>L', view[end : end + 4])
            # of chunks in small letters a reader needs none
            if name[:1].isupper() and zlib.crc32(view[start - 4 : end]) != checksum:
                return f'damaged: the checksum of its {name.decode("latin-1")} part does not fit'
    except struct.error:
        return 'truncated: its end is missing'
    return _png_length_fault(content) if exactly else None


def whole_png(
    image: Image.Image, content: bytes, decode: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    """Pixels of a PNG that has as many as its header says.

    Pillow leaves missing rows black and does not mind further ones. What is decoded shows both nearly
    always; the pixels are inflated once more only to be sure.

    Args:
        image (Image): Of which only the header is read.
        content (bytes): The file.
        decode (Callable): Decodes the image.

    Returns:
        np.ndarray: What ``decode`` returns.

    Raises:
        RasterError: If it has fewer or more pixels.
    """
    total = sum(end - start for name, start, end in _png_chunks(content) if name == b'IDAT')
    fill = _UNDECODED.get(image.mode)
    if fill is None or image.info.get('interlace') or total < _PNG_SMALL:
        pixels, is_doubtful = decode(image), True
    else:
        width, height = image.size
        read, given = image.load_read, 0  # type: ignore[attr-defined]

        def load_read(count: int) -> bytes:
            # the end is given alone: a decoder that does not ask for it had enough before
            nonlocal given
            left = total - _PNG_END - given
            piece = read(min(count, left) if left > 0 else count)
            given += len(piece)
            return piece

        image.load_prepare()  # type: ignore[attr-defined]
        image.im.paste(fill, (0, height - 1, width, height))
        image.load_read = load_read  # type: ignore[attr-defined]
        pixels = decode(image)
        last = np.asarray(image.crop((0, height - 1, width, height)))
        is_doubtful = given <= total - _PNG_END or bool((last == np.array(fill)).all())
    fault = _png_length_fault(content) if is_doubtful else None
    if fault:
        raise RasterError(f'{fault}; copy it anew from its source')
    return pixels


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name of every chunk, and where its content starts and ends; raises struct.error at the end."""
    offset, name = _PNG_HEAD, b''
    while name != b'IEND':
        (length,) = struct.unpack_from('>L', content, offset)
        name = content[offset + 4 : offset + 8]
        end = offset + 8 + length
        if end + 4 > len(content):
            raise struct.error
        yield name, offset + 8, end
        offset = end + 4


# Bytes at the end of a PNG in which EXIF data are looked for.
_PNG_TAIL = 2**12


def late_png_exif(file: IO[bytes]) -> bytes | None:
    """EXIF data of a PNG that lie behind its pixels.

    Args:
        file (IO[bytes]): The file, of whatever position, which is kept.

    Returns:
        bytes or None: None if there are none.
    """
    tail = _last_bytes(file, _PNG_TAIL)
    at = tail.rfind(b'eXIf')
    if at < 4:
        return None
    end = at + 4 + int.from_bytes(tail[at - 4 : at], 'big')
    # four letters of the pixels are none
    is_whole = zlib.crc32(tail[at:end]) == int.from_bytes(tail[end : end + 4], 'big')
    return tail[at + 4 : end] if is_whole else None


def _last_bytes(file: IO[bytes], count: int) -> bytes:
    if isinstance(file, io.BytesIO):
        return file.getvalue()[-count:]
    # as many threads read headers, in as few calls of the system as there may be
    descriptor = file.fileno()
    return os.pread(descriptor, count, max(os.fstat(descriptor).st_size - count, 0))


def _png_length_fault(content: bytes) -> str | None:
    """How the number of pixels contradicts the header, None if it does not."""
    width, height, bits, colour, _, _, interlace = struct.unpack_from('>2L5B', content, 16)
    bits *= _CHANNELS.get(colour, 1)

    def length(columns: int, rows: int) -> int:
        return rows * (1 + math.ceil(columns * bits / 8)) if columns > 0 else 0

    expected = length(width, height)
    if interlace:
        expected = sum(
            length(-(-(width - x) // dx), max(-(-(height - y) // dy), 0))
            for x, dx, y, dy in _PASSES
        )
    inflater, count = zlib.decompressobj(), 0
    for name, start, end in _png_chunks(content):
        pending = content[start:end] if name == b'IDAT' else b''
        while pending and count <= expected:
            count += len(inflater.decompress(pending, 2**20))
            pending = inflater.unconsumed_tail
    if count == expected:
        return None
    what = 'truncated' if count < expected else 'damaged'
    return f'{what}: its header says {width} x {height} px, {expected} bytes, but there are {count}'


# What libjpeg gives for pixels that are not there; of CMYK files Pillow inverts it.
_NO_DATA, _NO_INK = 128, (127, 128)


def is_cut_jpeg(source: bytes, image: Image.Image) -> bool:
    """Whether a JPEG ends, with its end mark, before its last pixel; libjpeg fills the rest with grey.

    Args:
        source (bytes): Its file.
        image (Image): The same, decoded.

    Returns:
        bool: Whether further data would change it.
    """
    last = np.array(image.getpixel((image.width - 1, image.height - 1)))
    if not np.isin(last, _NO_INK if image.mode == 'CMYK' else _NO_DATA).all():
        return False
    with Image.open(io.BytesIO(source), formats=('JPEG',)) as image:
        before = np.asarray(image)
    with Image.open(io.BytesIO(with_more_data(source)), formats=('JPEG',)) as image:
        return not np.array_equal(before, np.asarray(image))


_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262

_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 277, 278, 279, 284

_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325

_UNCOMPRESSED = 1

_YCBCR = 6

# LZW, Deflate (two numbers) and PackBits: bytes in, bytes out
_PACKED = (5, 8, 32946, 32773)

# Bytes after the last row that a writer may have added.
_PADDING = 3


def tiff_fault(tags: Mapping, size: int) -> str | None:
    """How the strips or tiles of a TIFF contradict its header.

    Args:
        tags (Mapping): Values by number of the tag.
        size (int): Of the file, bytes.

    Returns:
        str or None: None if they do not.
    """
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    is_tiled = _TILE_OFFSETS in tags
    offsets = _numbers(tags, _TILE_OFFSETS if is_tiled else _OFFSETS)
    counts = _numbers(tags, _TILE_COUNTS if is_tiled else _COUNTS)
    planes, row = _planes_and_row(tags, int(tags[_TILE_WIDTH]) if is_tiled else width)
    if is_tiled:
        high = int(tags[_TILE_HEIGHT])
        parts = math.ceil(width / int(tags[_TILE_WIDTH])) * math.ceil(height / high)
        expected = parts * planes * high * row
    else:
        parts = math.ceil(height / _rows_of_strip(tags))
        expected = height * planes * row
    what = f'its header says {width} x {height} px'
    if len(offsets) < parts * planes:
        return f'truncated: {what}, rows are missing'
    counts = counts[: len(offsets)]
    if any(offset + count > size for offset, count in zip(offsets, counts)):
        return f'truncated: {what}, its pixels end beyond the file'
    is_plain = tags.get(_COMPRESSION, 1) == _UNCOMPRESSED and tags.get(_PHOTOMETRIC) != _YCBCR
    if not counts or not is_plain:
        return None
    found = sum(counts)
    if found < expected:
        return f'truncated: {what}, {expected} bytes, but there are {found}'
    if found > expected + _PADDING:
        return f'damaged: {what}, {expected} bytes, but there are {found}'
    return None


def compressed_tiff_fault(tags: Mapping, content: bytes) -> str | None:
    """Whether the first strip of a compressed TIFF holds more than its rows; the decoder does not mind.

    Args:
        tags (Mapping): Values by number of the tag.
        content (bytes): The file.

    Returns:
        str or None: None if it does not.
    """
    compression = int(tags.get(_COMPRESSION, 1))
    offsets, counts = _numbers(tags, _OFFSETS), _numbers(tags, _COUNTS)
    if compression not in _PACKED or not offsets or not counts:
        return None
    rows = min(_rows_of_strip(tags), int(tags[_HEIGHT]))
    expected = rows * _planes_and_row(tags, int(tags[_WIDTH]))[1]
    strip = content[offsets[0] : offsets[0] + counts[0]]
    # a file of one row that is a byte longer than the strip should be
    fields = (
        *((_WIDTH, expected + 1), (_HEIGHT, 1), (_BITS, 8), (_COMPRESSION, compression)),
        *((_PHOTOMETRIC, 1), (_OFFSETS, 8 + 2 + 9 * 12 + 4), (_SAMPLES, 1), (_ROWS, 1)),
        (_COUNTS, len(strip)),
    )
    directory = b''.join(struct.pack('<2H2L', tag, 4, 1, value) for tag, value in fields)
    head = b'II*\0' + struct.pack('<LH', 8, len(fields)) + directory + bytes(4)
    try:
        with Image.open(io.BytesIO(head + strip), formats=('TIFF',)) as image:
            image.load()
    except Exception:  # as it should be: the byte is not there
        return None
    return f'damaged: its rows are longer than its header says, {int(tags[_WIDTH])} px'


def _rows_of_strip(tags: Mapping) -> int:
    height = int(tags[_HEIGHT])
    return max(1, min(int(tags.get(_ROWS, height)), height))


def _planes_and_row(tags: Mapping, width: int) -> tuple[int, int]:
    """Planes that are stored one after the other, and bytes of a row of one."""
    samples = int(tags.get(_SAMPLES, 1))
    bits = _numbers(tags, _BITS) or (1,)
    total = sum(bits) if len(bits) == samples else bits[0] * samples
    if tags.get(_PLANAR, 1) == 2:
        return samples, math.ceil(width * bits[0] / 8)
    return 1, math.ceil(width * total / 8)


def _numbers(tags: Mapping, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(map(int, value)) if isinstance(value, (tuple, list)) else (int(value),)
