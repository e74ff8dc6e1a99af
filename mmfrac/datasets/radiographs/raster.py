# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PNG, TIFF and JPEG as planes, in the orientation that they are shown in."""

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmfrac.utils.errors import RadiographError

_ORIENTATION = 274

_WIDTH, _HEIGHT = 256, 257

_FORMATS = ('JPEG', 'MPO', 'TIFF')

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
        orientation = image.getexif().get(_ORIENTATION, 1)
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


def _copy_in_memory(path: str) -> Image.Image:
    """A TIFF that Pillow turns when it is loaded; mapped from disk it would come out sheared."""
    with open(path, 'rb') as file:
        return Image.open(io.BytesIO(file.read()))


_TIFF_PHOTOMETRIC = 262

_WHITE_IS_ZERO = 0

# A 16-bit file often holds the detector's 10 to 15 bits; fewer than 10 is a dark film, not a depth.
_SMALLEST_DEPTH = 10


def is_raster(path: str) -> bool:
    """Whether Pillow knows the file's content (not its suffix).

    Args:
        path (str): An existing file.
    """
    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Known by its first bytes, broken further on: `read_raster` says how.
        return True


def read_raster(path: str) -> np.ndarray:
    """Read a PNG, TIFF or JPEG film.

    Grey, grey with alpha, RGB, RGBA, palette and bilevel files, 8 and 16 bit, 32-bit integer and
    float TIFF. Alpha is ignored; colour becomes luma (ITU-R BT.601). A JPEG or TIFF that says how it
    is to be turned (EXIF) comes out upright, as viewers show it. 8-bit values are divided by
    255. 16-bit values are divided by ``2**bits - 1``, bits being the smallest depth from 10 to 16
    that holds the film's maximum, because 12-bit films are commonly stored in 16-bit files. 32-bit
    integers that do not fit in 16 bits and floats outside [0, 1] are stretched from the film's
    minimum and maximum.

    Args:
        path (str): An existing file that Pillow knows.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        RadiographError: If the file is damaged, has several pages, or holds NaN or inf.
    """
    try:
        with Image.open(path) as image:
            # the further images of an MPO file are previews
            pages = getattr(image, 'n_frames', 1) if image.format != 'MPO' else 1
            if pages > 1:
                raise RadiographError(
                    f"cannot read film '{path}': {image.format} with {pages} pages, a film is one "
                    'page; save the page that holds the film as a file of its own'
                )
            orientation = _orientation_of(image)
            if image.format == 'TIFF' and orientation != 1:
                return _pixels(path, _copy_in_memory(path))
            return upright(_pixels(path, image), orientation)
    except RadiographError:
        raise
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise RadiographError(
            f"cannot read film '{path}': damaged or truncated image file ({error}); copy it anew "
            'from its source'
        ) from error


def _pixels(path: str, image: Image.Image) -> np.ndarray:
    image.load()
    pixels = _grey(path, image)
    return np.ascontiguousarray(1 - pixels if _is_white_zero(image) else pixels)


def _grey(path: str, image: Image.Image) -> np.ndarray:
    if image.mode in ('RGB', 'RGBA', 'LA') and ';16' in _raw_mode(path):
        # Pillow cuts 16-bit colour to 8 bits; OpenCV keeps it.
        pixels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint16:
            raise RadiographError(
                f"cannot read film '{path}': no decoder for this 16-bit colour file; save it as "
                '16-bit grey'
            )
        return _full_scale(path, _luma(pixels[..., 2::-1] if pixels.ndim == 3 else pixels))
    if image.mode in ('L', 'LA', 'La'):
        return _full_scale(path, np.asarray(image if image.mode == 'L' else image.getchannel(0)))
    if image.mode == '1':
        return np.asarray(image).astype(np.float32)
    if image.mode == 'I' or image.mode == 'F' or image.mode.startswith('I;'):
        return _full_scale(path, np.asarray(image))
    return _full_scale(path, _luma(np.asarray(image.convert('RGB'))))


def _raw_mode(path: str) -> str:
    # The decoder's tiles are emptied by load(); a second look at the header is cheap.
    with Image.open(path) as image:
        return str(image.tile)


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


def _full_scale(path: str, pixels: np.ndarray) -> np.ndarray:
    """Any grey plane to float32 in [0, 1]."""
    if pixels.dtype == np.uint8:
        return np.divide(pixels, np.float32(255), dtype=np.float32)
    if np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise RadiographError(
                f"cannot read film '{path}': the float image holds NaN or inf; write finite values"
            )
        low, high = float(pixels.min()), float(pixels.max())
        if low >= 0 and high <= 1:
            return pixels.astype(np.float32)
    else:
        low, high = int(pixels.min()), int(pixels.max())
        if low >= 0 and high < 2**16:
            bits = max(_SMALLEST_DEPTH, high.bit_length())
            return np.divide(pixels, np.float32(2**bits - 1), dtype=np.float32, casting='unsafe')
    if low == high:
        return np.zeros(pixels.shape, np.float32)
    return ((pixels.astype(np.float64) - low) / (high - low)).astype(np.float32)
