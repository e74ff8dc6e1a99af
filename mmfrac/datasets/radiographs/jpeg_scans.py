# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether the scans of a JPEG are whole: decoders go on after a gap, and stop early, without a word."""

import math
import struct
from typing import NamedTuple

import numpy as np

# Markers: frames of cosines, one after the other or in ever finer scans (Huffman's and arithmetic
# codes), and segments.
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)

_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)

_RESTART_INTERVAL, _SCAN, _END = 0xDD, 0xDA, 0xD9

_FIRST_RESTART, _RESTARTS = 0xD0, 8

# Of a block: pixels of a side, and cosines.
_BLOCK, _COSINES = 8, 64

# Each costs as much time as the image; an encoder writes some ten.
_MOST_SCANS = 500


class _Frame(NamedTuple):
    """What a frame header says: components by their number, (horizontal, vertical) sampling each."""

    is_progressive: bool
    width: int
    height: int
    components: dict[int, tuple[int, int]]

    def units(self, scanned: list[int]) -> int:
        """Units that a scan of components is made of, between which restart marks lie."""
        most = [max(steps) for steps in zip(*self.components.values())]
        sides = []
        for size, step, largest in zip(
            (self.width, self.height), self.components[scanned[0]], most
        ):
            own = math.ceil(size * step / largest) if len(scanned) == 1 else size
            sides.append(math.ceil(own / (_BLOCK * (1 if len(scanned) == 1 else largest))))
        return sides[0] * sides[1]


def scans_fault(stream: bytes) -> str | None:
    """What is missing in a JPEG between its start and its end mark.

    Restart marks are counted where there are any, and scans where one does not hold everything;
    for all other files only the header is looked at.

    Args:
        stream (bytes): JPEG, all of it.

    Returns:
        str or None: None if nothing is, or if it is something else.
    """
    try:
        return _fault(stream)
    except (struct.error, KeyError, IndexError, ValueError, ZeroDivisionError):
        # a header that no decoder takes
        return None


def _fault(stream: bytes) -> str | None:
    frame, interval, scans, offset = None, 0, 0, 2
    # how coarse the cosines of each component still are
    coarse: dict[int, np.ndarray] = {}
    places = codes = np.empty(0, int)
    while offset + 4 <= len(stream) and stream[offset] == 0xFF:
        marker = stream[offset + 1]
        if marker == _END or marker in _OTHER_FRAMES:
            break
        # fill bytes, and marks that stand alone
        if marker in (0xFF, 0x01) or _FIRST_RESTART <= marker < _FIRST_RESTART + _RESTARTS:
            offset += 1 if marker == 0xFF else 2
            continue
        end = offset + 2 + int.from_bytes(stream[offset + 2 : offset + 4], 'big')
        segment, offset = stream[offset + 4 : end], end
        if marker in _SEQUENTIAL + _PROGRESSIVE:
            frame = _frame(marker, segment)
            coarse = {number: np.full(_COSINES, -1) for number in frame.components}
        elif marker == _RESTART_INTERVAL:
            interval = int.from_bytes(segment[:2], 'big')
        elif marker == _SCAN and frame is not None:
            scanned = list(segment[1 : 1 + 2 * segment[0] : 2])
            first, last, depth = segment[1 + 2 * segment[0] :][:3]
            if not frame.is_progressive:
                first, last, depth = 0, _COSINES - 1, 0
                if not interval and len(scanned) == len(frame.components):
                    return None
            for number in scanned:
                coarse[number][first : last + 1] = depth & 15
            if not scans:
                places, codes = _marks(stream, offset)
            scans += 1
            if scans > _MOST_SCANS:
                return f'it has more than {_MOST_SCANS} scans'
            start = int(np.searchsorted(places, offset))
            is_other = codes[start:] // _RESTARTS != _FIRST_RESTART // _RESTARTS
            count = int(is_other.argmax()) if is_other.any() else len(is_other)
            following = start + count
            offset = int(places[following]) if following < len(places) else len(stream)
            if interval and frame.height:
                expected = math.ceil(frame.units(scanned) / interval) - 1
                # some encoders write one more behind the last unit
                is_one_more = count == expected + 1 and places[following - 1] + 2 == offset
                found = codes[start : following - is_one_more]
                fault = _restart_fault(frame, expected, found)
                if fault:
                    return fault
    if scans and any(depths.any() for depths in coarse.values()):
        return 'truncated: the last of its scans, and with them its finer detail, are missing'
    return None


def _frame(marker: int, segment: bytes) -> _Frame:
    height, width, count = struct.unpack('>2HB', segment[1:6])
    steps = {
        segment[at]: (segment[at + 1] >> 4, segment[at + 1] & 15)
        for at in range(6, 6 + 3 * count, 3)
    }
    return _Frame(marker in _PROGRESSIVE, width, height, steps)


def _marks(stream: bytes, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Where marks may be from ``start`` on, and their codes; an FF of a scan has a 0 behind it."""
    content = np.frombuffer(stream, np.uint8)
    places = np.flatnonzero(content[start:-1] == 0xFF) + start
    codes = content[places + 1]
    is_mark = (codes != 0) & (codes != 0xFF)
    return places[is_mark], codes[is_mark]


def _restart_fault(frame: _Frame, expected: int, found: np.ndarray) -> str | None:
    if len(found) != expected:
        return (
            f'damaged: its header says {frame.width} x {frame.height} px, {expected} restart marks, but '
            f'there are {len(found)}'
        )
    if (found != _FIRST_RESTART + np.arange(expected) % _RESTARTS).any():
        return 'damaged: its restart marks are not in their order'
    return None
