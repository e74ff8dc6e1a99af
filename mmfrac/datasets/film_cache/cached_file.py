# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One film of the cache as a file that is mapped, not read.

80 bytes of header, then the levels, then the pixels row by row. Every plane is kept bit for bit. A
film that was not resampled has few distinct values: its pixels are codes of 8 or 16 bits and the
levels are their float32 values, in ascending order of their bits. A resampled film has almost as many
values as pixels: its pixels are float32 and there are no levels.

The header says of which file the plane is: size, time of change, inode, time of the last change of the
inode, and a checksum of the file's bytes. Size and time of change alone do not tell two films apart that
were written by one program in one second and swapped by renaming. Inode and its time do, but a copy of a
data set has others, and so have files on some network drives: where they differ the bytes decide.
"""

import mmap
import os
import struct
import zlib
from typing import ClassVar, NamedTuple

import numpy as np

from mmfrac.datasets.radiographs.grey_scale import look_up
from mmfrac.utils.io import atomic_open

SUFFIX = '.film'
_MAGIC = b'MMFRACF3'
# magic, bytes a pixel, levels, plane (h, w), film (h, w), size, mtime_ns, inode and ctime_ns of the
# source, checksum of its bytes, checksum
_HEADER = struct.Struct('<8s6IQqQqII8x')
# What of the header is in the checksum: all before it.
_BEFORE_CHECKSUM = struct.calcsize('<8s6IQqQqI')
# Of an earlier version: without inode, ctime_ns and checksum of the bytes.
_OLD_MAGIC = b'MMFRACF2'
_OLD_HEADER = struct.Struct('<8s6IQqI12x')
_BEFORE_OLD_CHECKSUM = struct.calcsize('<8s6IQq')
_BLOCK = 2**20
_CODES: dict[int, np.dtype] = {1: np.dtype('<u1'), 2: np.dtype('<u2')}
_RAW: np.dtype = np.dtype('<f4')
# Pixels in which more than 65536 values show that a plane is a resampled one.
_SAMPLE = 2**17


class CachedFileError(ValueError):
    """A file of the cache that is cut short, altered or none of ours."""


class SourceState(NamedTuple):
    """What tells, without reading it, that a source film has not changed.

    Attributes:
        size (int): Bytes.
        mtime_ns (int): Time of its last change.
        inode (int): Its number in its file system. Defaults to 0, not known.
        ctime_ns (int): Time of the last change of the inode, by renaming, too. Defaults to 0.
    """

    size: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0


class CachedImage(NamedTuple):
    """A film as it is in the cache.

    Attributes:
        image (np.ndarray): (h, w) float32, resized, writeable; where it is not made of codes its
            memory is the file itself, copied page by page where it is written to.
        ori_shape (tuple): (h, w) of the film, px.
        source (SourceState): Of the source when it was decoded.
        content (int): ``content_checksum`` of the source when it was decoded. Defaults to 0.
    """

    image: np.ndarray
    ori_shape: tuple[int, int]
    source: SourceState
    content: int = 0


def source_state(path: str) -> SourceState:
    """State of a source film.

    Raises:
        OSError: If it cannot be looked at.
    """
    found = os.stat(path)
    return SourceState(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def content_checksum(path: str) -> int:
    """CRC-32 of the bytes of a source film.

    Raises:
        OSError: If it cannot be read.
    """
    checksum = 0
    with open(path, 'rb') as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def write_entry(path: str, entry: CachedImage) -> int:
    """Write one film under a temporary name and rename it; any number of writers may do so.

    Args:
        path (str): File to write; its folder is made.
        entry (CachedImage): The film.

    Returns:
        int: Bytes written.
    """
    levels, pixels = _encoded(np.ascontiguousarray(entry.image, dtype=_RAW))
    fields = (
        _MAGIC,
        pixels.dtype.itemsize,
        len(levels),
        *entry.image.shape,
        *entry.ori_shape,
        *entry.source,
        entry.content,
    )
    head = _HEADER.pack(*fields, 0)[:_BEFORE_CHECKSUM]
    checksum = zlib.crc32(pixels.data, zlib.crc32(levels.data, zlib.crc32(head)))
    header = _HEADER.pack(*fields, checksum)
    # there before the file, so that what a killed writer leaves is found beside the others
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with atomic_open(path, 'wb') as file:
        file.write(header)
        file.write(levels.data)
        file.write(pixels.data)
    return _HEADER.size + levels.nbytes + pixels.nbytes


class CachedFile:
    """An open file of ``write_entry``; nothing of its pixels is read before they are touched.

    Args:
        path (str): The file.

    Attributes:
        source (SourceState): Of the source when it was decoded.
        content (int, optional): Checksum of the source; None: by a version that wrote none.
        written_ns (int): When it was written.

    Raises:
        FileNotFoundError: If there is none.
        CachedFileError: If the file is cut short or none of ours.
    """

    # Checksums that fitted in this process; a file that is written anew is another.
    _sound: ClassVar[set[tuple[int, int, int]]] = set()

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            self._identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
            self.written_ns = status.st_mtime_ns
            if status.st_size < _OLD_HEADER.size:
                raise CachedFileError('it is cut short')
            # A private mapping: all processes share a page until one of them writes to its own.
            self._content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)
        self._is_old = self._content[: len(_OLD_MAGIC)] == _OLD_MAGIC
        header = _OLD_HEADER if self._is_old else _HEADER
        if len(self._content) < header.size:
            raise CachedFileError('it is cut short')
        magic, item, levels, h, w, ori_h, ori_w, *state, checksum = header.unpack_from(
            self._content
        )
        if magic not in (_MAGIC, _OLD_MAGIC) or item not in (*_CODES, _RAW.itemsize):
            raise CachedFileError('it is no film of this cache')
        self.content: int | None = None if self._is_old else state.pop()
        self.source = SourceState(*state)
        self._item, self._levels, self._checksum = item, levels, checksum
        self._shape, self._ori_shape = (h, w), (ori_h, ori_w)
        self._levels_at = header.size
        self._pixels_at = header.size + levels * _RAW.itemsize
        if len(self._content) != self._pixels_at + h * w * item:
            raise CachedFileError('it is cut short')

    def read(self) -> CachedImage:
        """The film; the first time in a process its checksum is compared.

        Raises:
            CachedFileError: If the file is not as it was written.
        """
        if self._identity not in CachedFile._sound:
            if not self.is_sound():
                raise CachedFileError('its checksum does not fit')
            CachedFile._sound.add(self._identity)
        count = self._shape[0] * self._shape[1]
        if self._item == _RAW.itemsize:
            pixels = np.frombuffer(self._content, _RAW, count, self._pixels_at)
            return self._entry(pixels.reshape(self._shape))
        levels = np.frombuffer(self._content, _RAW, self._levels, self._levels_at)
        codes = np.frombuffer(self._content, _CODES[self._item], count, self._pixels_at)
        return self._entry(_decoded(levels, codes.reshape(self._shape)))

    def _entry(self, image: np.ndarray) -> CachedImage:
        return CachedImage(image, self._ori_shape, self.source, self.content or 0)

    def is_sound(self) -> bool:
        """Whether the whole file is as it was written."""
        content = memoryview(self._content)
        head = zlib.crc32(content[: _BEFORE_OLD_CHECKSUM if self._is_old else _BEFORE_CHECKSUM])
        return zlib.crc32(content[self._levels_at :], head) == self._checksum


def _encoded(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels (n,) float32 and pixels (h, w), whichever form is the smallest."""
    none = np.empty(0, _RAW)
    bits = image.view('<u4')
    most = np.iinfo(_CODES[2]).max + 1
    if np.unique(bits.ravel()[:_SAMPLE]).size > most:
        return none, image
    levels, codes = np.unique(bits, return_inverse=True)
    if levels.size > most:
        return none, image
    codes = codes.reshape(image.shape).astype(_CODES[1 if levels.size <= 256 else 2])
    if codes.nbytes + levels.nbytes >= image.nbytes:
        return none, image
    return levels.view(_RAW), codes


def _decoded(levels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    table = np.zeros(np.iinfo(codes.dtype).max + 1, np.float32)
    table[: levels.size] = levels
    return look_up(table, codes)
