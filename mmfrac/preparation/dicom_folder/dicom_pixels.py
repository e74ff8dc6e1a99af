# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether all pixels of a DICOM file are there, without decoding them (PS3.5 A.4)."""

import struct
from typing import Any, BinaryIO

UNDEFINED = 0xFFFFFFFF
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_ITEM, _DELIMITER = b'\xfe\xff\x00\xe0', b'\xfe\xff\xdd\xe0'


class PixelPlace:
    """Notes where the pixels of a DICOM file begin, and stops pydicom there.

    Args:
        file (BinaryIO): The file that pydicom reads.

    Attributes:
        start, length (int): Place of their first byte and their number; -1 if there are none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.start = self.length = -1

    def begin(self, tag: Any, vr: str | None, length: int) -> bool:
        """Whether an element is the pixels; ``stop_when`` of pydicom."""
        if int(tag) not in _PIXELS:
            return False
        self.start, self.length = self._file.tell(), length
        return True

    def are_cut_off(self, end: int) -> bool:
        """Whether a fragment, or the pixels as a whole, reach beyond the end of the file.

        Args:
            end (int): Size of the file, bytes.
        """
        if self.length != UNDEFINED:
            return self.start + self.length > end
        place = self.start
        while place < end:
            self._file.seek(place)
            head = self._file.read(8)
            if head[:4] == _DELIMITER:
                return False
            if len(head) < 8 or head[:4] != _ITEM:
                return True
            place += 8 + struct.unpack('<L', head[4:])[0]
        return place > end or place == self.start
