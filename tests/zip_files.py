# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Zip files that no zip program was asked to write."""


def encrypted(archive: bytes) -> bytes:
    """A zip whose members all say that they are encrypted."""
    content = bytearray(archive)
    for signature, offset in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 1)
    return bytes(content)
