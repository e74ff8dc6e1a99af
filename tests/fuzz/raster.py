# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PNG, TIFF and JPEG in all depths and packings."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from mmfrac.utils.errors import RadiographError
from mmfrac.utils.guard import GuardError, run_guarded
from tests.fuzz.checked_plane import checked_plane
from tests.fuzz.dicom import _film
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register


def seeds(folder: Path) -> list[Path]:
    """One film of each form."""
    grey, deep = _film(1, np.uint8, 255), _film(2, np.uint16, 60_000)
    forms = {
        'grey.png': (grey, {}),
        'deep.png': (deep, {}),
        'rgb.png': (np.repeat(grey[..., None], 3, axis=2), {}),
        'grey.jpg': (grey, dict(quality=95)),
        'progressive.jpg': (grey, dict(quality=95, progressive=True)),
        'rgb.jpg': (np.repeat(grey[..., None], 3, axis=2), dict(quality=95)),
        'plain.tif': (deep, {}),
        'grey.tif': (grey, {}),
        'lzw.tif': (deep, dict(compression='tiff_lzw')),
        'deflate.tif': (deep, dict(compression='tiff_adobe_deflate')),
        'packbits.tif': (grey, dict(compression='packbits')),
        'jpeg.tif': (grey, dict(compression='jpeg')),
        'float.tif': (deep.astype(np.float32) / 65535, {}),
    }
    for name, (film, options) in forms.items():
        Image.fromarray(film).save(folder / name, **options)
    return [folder / name for name in forms]


def damage(content: bytes, dice: random.Random) -> bytes:
    """Bytes; of a PNG with checksums that fit in half of the cases."""
    damaged = damage_bytes(content, dice)
    return _with_checksums(damaged) if dice.random() < 0.5 else damaged


def _with_checksums(content: bytes) -> bytes:
    if not content.startswith(b'\x89PNG'):
        return content
    data, offset = bytearray(content), 8
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from('>L', data, offset)
        end = offset + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack('>L', zlib.crc32(data[offset + 4 : end]))
        offset = end + 4
    return bytes(data)


def read(path: Path, source: Path) -> tuple[str, int]:
    """Read, and hold what is read against Pillow's own values."""
    plane, notes = checked_plane(path)
    try:
        expected, mode = run_guarded(values, path.read_bytes(), most_bytes=2**24, seconds=4.0)
    except GuardError:
        return 'doubtful' if notes else 'read', plane.nbytes
    if not notes and mode and expected.shape == plane.shape and np.ptp(expected):
        likeness = np.corrcoef(plane.ravel(), expected.ravel())[0, 1]
        if likeness < 0.99:
            raise WrongError(f'likeness {likeness:.3f} to Pillow, mode {mode}')
    return 'doubtful' if notes else 'read', plane.nbytes


def values(content: bytes) -> tuple[np.ndarray, str]:
    """What Pillow gives, float64 (h, w), and the mode; '' where it is not to be held against."""
    with Image.open(io.BytesIO(content)) as image:
        mode = image.mode if image.mode in ('L', 'I;16', 'F') else ''
        if getattr(image, 'tag_v2', {}).get(262) == 0 or image.getexif().get(274, 1) != 1:
            mode = ''
        return np.asarray(image.convert('F') if not mode else image).astype(float), mode


KIND = register(Kind('raster', seeds, damage, read, (RadiographError,)))
