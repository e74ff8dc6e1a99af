# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PNG, TIFF and JPEG as planes, in the orientation that they are shown in."""

import io
import os
import time
from functools import partial
from typing import Any, BinaryIO

import cv2
import numpy as np

from mmfrac.datasets.radiographs.codestream import gap_fault, tile_fault
from mmfrac.datasets.radiographs.grey_scale import FLAT
from mmfrac.datasets.radiographs.jpeg_scans import scans_fault
from mmfrac.datasets.radiographs.limits import MAX_PIXELS_VARIABLE, check_size, max_pixels
from mmfrac.datasets.radiographs.pillow import (
    HAS_PILLOW,
    NO_PILLOW,
    Image,
    UnidentifiedImageError,
)
from mmfrac.datasets.radiographs.portable import (
    check_one_portable,
    check_portable_header,
    is_slow_portable,
    portable_samples,
)
from mmfrac.datasets.radiographs.raster_check import (
    RasterError,
    check_png_header,
    compressed_tiff_fault,
    is_cut_jpeg,
    late_png_exif,
    png_fault,
    tiff_fault,
    whole_png,
)
from mmfrac.utils.errors import RadiographError, one_line
from mmfrac.utils.guard import run_guarded

# What an image file may be; Pillow would hand others to programs of the system.
FORMATS = ('PNG', 'TIFF', 'JPEG', 'BMP', 'GIF', 'PPM', 'WEBP', 'JPEG2000')

# Whose decoders end no process, or run in none of C's libraries.
_SAFE = ('PNG', 'JPEG', 'MPO', 'BMP', 'GIF', 'PPM')

# Time of a processor to decode an image, s: at least, and for each pixel.
_SECONDS, _SECONDS_A_PIXEL = 4.0, 2e-6

_ORIENTATION = 274

_WIDTH, _HEIGHT = 256, 257

_FORMATS = ('JPEG', 'MPO', 'TIFF', 'PNG', 'WEBP')

# Where Pillow keeps what a PNG says of its orientation.
_PNG_EXIF = ('exif', 'Raw profile type exif', 'XML:com.adobe.xmp')

# From this one on rows are columns.
_FIRST_ACROSS = 5


def _orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8.

    Args:
        image (Image): Just opened.

    Returns:
        int: 1 where the file does not say, or says something else.
    """
    if image.format not in _FORMATS:
        return 1
    try:
        if image.format == 'PNG' and not any(key in image.info for key in _PNG_EXIF):
            late = late_png_exif(image.fp)  # type: ignore[attr-defined]
            if late is None:
                return 1
            image.info['exif'] = late
        # that of a PNG decodes it to look behind its pixels
        orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data, of which nothing else is wanted
        return 1
    return orientation if orientation in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height (px) of the film when it is turned.

    Args:
        image (Image): Just opened.
    """
    width, height = image.size
    if image.format == 'TIFF':
        # Pillow's own size is turned or not, by its version
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[_WIDTH], tags[_HEIGHT]
    return (height, width) if _orientation_of(image) >= _FIRST_ACROSS else (width, height)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a plane as stored, (h, w), C-contiguous."""
    if orientation >= _FIRST_ACROSS:
        pixels = pixels.T
    # where the first row and column of the (transposed) plane belong
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


_PNG = b'\x89PNG\r\n'

_TIFF_ORDERS = (b'II', b'MM')

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 258, 262, 339

_TIFF_PLANAR, _PLANES = 284, 2

_WHITE_IS_ZERO = 0

# Pillow's names of big-endian samples, and of those in the order of this machine.
_BIG_ENDIAN = {'I;16BS': 'I;16NS', 'I;32BS': 'I;32NS', 'F;32BF': 'F;32NF'}

# SampleFormat of integers, of which Pillow knows one for each depth.
_UNSIGNED, _SIGNED = 1, 2

# A 16-bit file often holds the detector's 10 to 15 bits; fewer than 10 is a dark film, not a depth.
_SMALLEST_DEPTH = 10


def is_raster(path: str) -> bool:
    """Whether Pillow knows the file's content (not its suffix).

    Args:
        path (str): An existing file.
    """
    try:
        with open_image(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        # Known by its first bytes, broken further on: `read_raster` says how.
        return True


def open_image(file: str | BinaryIO) -> Image.Image:
    """An image file, of which the header is read; Pillow raises whatever it meets.

    Args:
        file (str or BinaryIO): The file, or its path.

    Raises:
        RasterError: If it has too many pixels, or a header without end.
    """
    if isinstance(file, str):
        with open(file, 'rb') as opened:
            check_portable_header(opened)
            check_png_header(opened)
    else:
        check_portable_header(file)
        check_png_header(file)
    return _open(file)


def _open(file: str | BinaryIO) -> Image.Image:
    most = max_pixels()
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RasterError(
            f'it has more than {most} px; the environment variable {MAX_PIXELS_VARIABLE} sets another '
            'limit'
        ) from error


def read_raster(path: str, file: BinaryIO, notes: list[str]) -> np.ndarray:
    """Read a PNG, TIFF or JPEG film.

    Grey, grey with alpha, RGB, RGBA, palette and bilevel files, 8 and 16 bit, 32-bit integer and
    float TIFF. Alpha is ignored; colour becomes luma (ITU-R BT.601). A JPEG, TIFF, PNG or WebP that says
    how it is to be turned (EXIF) comes out upright, as viewers show it. 8-bit values are divided by
    255. 16-bit values are divided by ``2**bits - 1``, bits being the smallest depth from 10 to 16
    that holds the film's maximum, because 12-bit films are commonly stored in 16-bit files. 32-bit
    integers that do not fit in 16 bits and floats outside [0, 1] are stretched from the film's
    minimum and maximum; so are integers of which one is negative.

    Args:
        path (str): An existing file that Pillow knows.
        file (BinaryIO): The same, open at its start.
        notes (list[str]): What is doubtful of the image is added, a sentence each.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        RadiographError: If the file is damaged, lacks rows, has several pages, or holds NaN or inf.
    """
    if not HAS_PILLOW:
        raise RadiographError(f"cannot read film '{path}': {NO_PILLOW}")
    try:
        state = _state(path, file)
        magic, content = file.read(len(_PNG)), b''
        is_tiff = magic[:2] in _TIFF_ORDERS
        if magic == _PNG and state not in _WHOLE:
            content = magic + file.read()
        # a TIFF is mapped from disk, which takes its path
        source = io.BytesIO(content) if content else file
        opened = _open(path) if is_tiff else open_image(source)
        with opened as image:
            check_size(path, *image.size)
            # the further images of an MPO file are previews
            pages = getattr(image, 'n_frames', 1) if image.format != 'MPO' else 1
            if pages > 1:
                raise RasterError(
                    f'{image.format} with {pages} pages, a film is one page; save the page that holds '
                    'the film as a file of its own'
                )
            orientation = _orientation_of(image)
            samples = _as_declared(image, _samples(state, content, image, orientation))
            plane = _full_scale(_luma(samples), notes)
            if _is_white_zero(image):
                plane = 1 - plane
            # Pillow turns a TIFF itself
            return np.ascontiguousarray(
                plane if image.format == 'TIFF' else upright(plane, orientation)
            )
    except RadiographError:
        raise
    except RasterError as error:
        raise RadiographError(f"cannot read film '{path}': {error}") from error
    except UnidentifiedImageError as error:
        kind = ', or its pixels are of a kind that is not read: save it as 16-bit grey'
        raise RadiographError(
            f"cannot read film '{path}': its header is damaged; copy it anew from its source"
            f'{kind if is_tiff else ""}'
        ) from error
    except Exception as error:  # Pillow and its decoders raise whatever they meet
        raise RadiographError(
            f"cannot read film '{path}': damaged or truncated image file "
            f'({one_line(error)}); copy it anew from its source'
        ) from error


def _tiles(image: Image.Image) -> list:
    """What Pillow is to decode, and how."""
    return image.tile  # type: ignore[attr-defined]


# State of the files that were seen to have all their pixels, or not to end their decoder: once in a
# process is enough.
_WHOLE: set[tuple[str, int, int]] = set()

_MOST_WHOLE = 2**20

# ns
_TICKS = 2 * 10**9


def _state(path: str, file: BinaryIO) -> tuple[str, int, int]:
    facts = os.fstat(file.fileno())
    return path, facts.st_mtime_ns, facts.st_size


def _remember(state: tuple[str, int, int], samples: np.ndarray) -> np.ndarray:
    # a file that was written just now may be written again within one tick of its clock
    if time.time_ns() - state[1] < _TICKS:
        return samples
    if len(_WHOLE) >= _MOST_WHOLE:
        _WHOLE.clear()
    _WHOLE.add(state)
    return samples


def _samples(
    state: tuple[str, int, int], content: bytes, image: Image.Image, orientation: int
) -> np.ndarray:
    """Stored values (h, w) or (h, w, 3) of an image of which only the header is read."""
    path = state[0]
    if state in _WHOLE:
        return _values_of(image)
    is_deep_colour = image.mode in ('RGB', 'RGBA', 'LA') and ';16' in str(_tiles(image))
    if image.format in ('JPEG', 'MPO'):
        with open(path, 'rb') as file:
            content = file.read()
        fault = scans_fault(content)
        if fault:
            raise RasterError(f'{fault}; copy it anew from its source')
        samples = _values_of(image)
        if is_cut_jpeg(content, image):
            raise RasterError('truncated: its last rows are missing; copy it anew from its source')
        return _remember(state, samples)
    if image.format == 'PPM':
        with open(path, 'rb') as file:
            check_one_portable(image, file)
            if is_slow_portable(image):
                return portable_samples(image, file)
    # of run lengths Pillow decodes in Python, too
    is_safe = image.format in _SAFE and 'bmp_rle' not in str(_tiles(image))
    if is_safe and image.format != 'PNG':
        return _values_of(image)
    if not content:
        with open(path, 'rb') as file:
            content = file.read()
    if image.format == 'PNG':
        fault = png_fault(content, is_deep_colour)
        if fault:
            raise RasterError(f'{fault}; copy it anew from its source')
        if not is_deep_colour:
            return _remember(
                state, whole_png(image, content, partial(_values_of, colours=_colours(image)))
            )
    if image.format == 'JPEG2000':
        fault = tile_fault(content) or gap_fault(content)
        if fault:
            raise RasterError(f'{fault}; copy it anew from its source')
    is_packed = image.format != 'TIFF'
    if image.format == 'TIFF':
        tags = image.tag_v2  # type: ignore[attr-defined]
        fault = tiff_fault(tags, len(content))
        if fault:
            raise RasterError(f'{fault}; copy it anew from its source')
        if tags.get(_TIFF_PLANAR) == _PLANES and max(tags.get(_TIFF_BITS, (1,))) > 8:
            # neither Pillow nor OpenCV reads them right
            raise RasterError(
                'its 16-bit colours lie in planes of their own; save it as 16-bit grey'
            )
        is_packed = any(tile[0] != 'raw' for tile in _tiles(image))
    if is_deep_colour:
        # Pillow cuts 16-bit colour to 8 bits; OpenCV keeps it.
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint16:
            raise RasterError('no decoder for this 16-bit colour file; save it as 16-bit grey')
        return pixels[..., 2::-1] if pixels.ndim == 3 else pixels
    if not is_packed:
        # mapped from disk a TIFF that Pillow turns would come out sheared
        if orientation != 1:
            return _values_of(open_image(io.BytesIO(content)))
        return _remember(state, _values_of(image))
    width, height = image.size
    samples, _ = run_guarded(
        _values_of_file,
        content,
        most_bytes=8 * width * height,
        seconds=_SECONDS + _SECONDS_A_PIXEL * width * height,
    )
    # what its decoder did once it does again: no process is needed beside
    return _remember(state, samples)


def _values_of_file(content: bytes) -> tuple[np.ndarray, Any]:
    with open_image(io.BytesIO(content)) as image:
        if image.format == 'TIFF':
            fault = compressed_tiff_fault(image.tag_v2, content)  # type: ignore[attr-defined]
            if fault:
                raise RasterError(fault)
        return _values_of(image), None


def _colours(image: Image.Image) -> int:
    """How many its palette has, before it is decoded: Pillow makes them 256 then."""
    palette = image.palette if image.mode == 'P' else None
    if palette is None:
        return 0
    return len(palette.palette) // len((palette.rawmode or palette.mode).split(';')[0])


def _values_of(image: Image.Image, colours: int | None = None) -> np.ndarray:
    """Stored values (h, w) or (h, w, 3) of an image; ``colours``: of :func:`_colours`."""
    _in_native_order(image)
    colours = _colours(image) if colours is None else colours
    image.load()
    if image.mode in ('LA', 'La'):
        return np.asarray(image.getchannel(0))
    if image.mode in ('L', '1', 'I', 'F') or image.mode.startswith('I;'):
        return np.asarray(image)
    if image.mode == 'P':
        _check_palette(image, colours)
        # of which Pillow would warn
        image.info.pop('transparency', None)
    return np.asarray(image.convert('RGB'))


def _check_palette(image: Image.Image, colours: int) -> None:
    """Raise a RasterError if a pixel has no colour in the palette; Pillow shows it black."""
    highest = image.getextrema()[1]
    if highest >= colours:  # type: ignore[operator]
        raise RasterError(
            f'damaged: its palette has {colours} colours, and a pixel has number {highest}; copy it '
            'anew from its source'
        )


def _in_native_order(image: Image.Image) -> None:
    """Let Pillow take what libtiff gives as it is; it swaps bytes that libtiff has swapped before."""
    if image.format != 'TIFF':
        return
    tiles = _tiles(image)
    for index, tile in enumerate(tiles):
        decoder, box, offset, options = tile
        if decoder == 'libtiff' and options[0] in _BIG_ENDIAN:
            # a plain tuple before Pillow 11
            make = getattr(type(tile), '_make', tuple)
            options = (_BIG_ENDIAN[options[0]], *options[1:])
            tiles[index] = make((decoder, box, offset, options))


def _as_declared(image: Image.Image, samples: np.ndarray) -> np.ndarray:
    """Samples with the sign that a TIFF says; Pillow reads 32 bits as signed, 8 bits as unsigned."""
    if image.format != 'TIFF' or image.mode not in ('I', 'L'):
        return samples
    tags = image.tag_v2  # type: ignore[attr-defined]
    declared = tags.get(_TIFF_SAMPLE_FORMAT, (_UNSIGNED,)), tags.get(_TIFF_BITS, (1,))
    if declared == ((_UNSIGNED,), (32,)):
        return samples.view(np.uint32)
    if declared == ((_SIGNED,), (8,)):
        signed = samples.view(np.int8)
        # without a negative one they are as good as unsigned
        return signed if signed.min() < 0 else samples
    return samples


def _is_white_zero(image: Image.Image) -> bool:
    # Pillow inverts white-is-zero only for 1, 2, 4 and 8 bits.
    tags = getattr(image, 'tag_v2', None)
    deep = image.mode == 'I' or image.mode == 'F' or image.mode.startswith('I;')
    return deep and tags is not None and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO


def _luma(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) of any depth to (h, w); a grey film saved as RGB keeps its dtype and values."""
    if rgb.ndim == 2:
        return rgb
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red
    full = np.float32(np.iinfo(rgb.dtype).max)
    return cv2.cvtColor(np.divide(rgb, full, dtype=np.float32), cv2.COLOR_RGB2GRAY)


def _full_scale(pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """Any grey plane to float32 in [0, 1]."""
    is_float = pixels.dtype.kind == 'f'
    if is_float and not np.isfinite(pixels).all():
        raise RasterError('the float image holds NaN or inf; write finite values')
    if pixels.dtype in (np.uint8, bool):
        # a line shows nearly every film not to be flat
        line = pixels[len(pixels) // 2]
        if line.min() == line.max() and pixels.min() == pixels.max():
            notes.append(FLAT)
        full = np.float32(255 if pixels.dtype == np.uint8 else 1)
        return np.divide(pixels, full, dtype=np.float32)
    low, high = pixels.min(), pixels.max()
    if low == high:
        notes.append(FLAT)
    if is_float:
        low, high = float(low), float(high)
        if low >= 0 and high <= 1:
            return pixels.astype(np.float32)
    else:
        low, high = int(low), int(high)
        if low >= 0 and high < 2**16:
            bits = max(_SMALLEST_DEPTH, high.bit_length())
            return np.divide(pixels, np.float32(2**bits - 1), dtype=np.float32, casting='unsafe')
    if low == high:
        return np.zeros(pixels.shape, np.float32)
    return ((pixels.astype(np.float64) - low) / (high - low)).astype(np.float32)
