# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A DICOM file as a plane: its pixels, whether they are what the header says, and how they are
shown."""

import math
import struct
from typing import BinaryIO

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from mmfrac.datasets.radiographs.dicom_header import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    PIXEL_REPRESENTATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    short,
)
from mmfrac.datasets.radiographs.grey_scale import (
    grey_scale,
    grey_scale_of_bits,
    is_flat,
    look_up,
    table_of,
)
from mmfrac.utils.errors import RadiographError

_PIXEL_DATA = BaseTag(0x7FE00010)

_ITEM = b'\xfe\xff\x00\xe0'

# Markers of a JPEG frame header, that of JPEG-LS included; C4, C8 and CC are others.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def _extent_fault(ds: FileDataset) -> str | None:
    """How the size in the header contradicts the pixels.

    A film of too many native pixels comes out sheared, or is the first of several frames; a codec that
    meets another size than it was told shears the film, too, or ends the process. Of RLE the size is
    not known before it is decoded.

    Args:
        ds (FileDataset): Film, its pixels unread.

    Returns:
        str or None: None if they agree, or nothing can be told.
    """
    rows, columns = short(ds, ROWS), short(ds, COLUMNS)
    element = ds.get_item(_PIXEL_DATA)
    content = element.value if element is not None else None
    syntax = ds.file_meta.TransferSyntaxUID
    if not rows or not columns or not isinstance(content, bytes) or not syntax.is_transfer_syntax:
        return None
    if syntax.is_encapsulated:
        size = codestream_size(_first_fragment(content))
        if size in (None, (columns, rows)):
            return None
        return f'its header says {columns} x {rows} px, its pixels are {size[0]} x {size[1]} px'
    if ds.get('PhotometricInterpretation') == 'YBR_FULL_422':
        return None
    row = columns * (short(ds, SAMPLES_PER_PIXEL, 1) or 1) * (short(ds, BITS_ALLOCATED) or 0) // 8
    rest = content[row * rows :]
    # Trailing bytes are common, rows of them are none; one value over and over is a filler.
    if not row or len(rest) < row or rest.count(rest[:1]) == len(rest):
        return None
    return (
        f'its header says {columns} x {rows} px, {row * rows} bytes, but there are {len(content)}: '
        'Rows or Columns are wrong, or it has several frames'
    )


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Width and height (px) that a JPEG, JPEG-LS or JPEG 2000 codestream says it has.

    Args:
        stream (bytes): Codestream, or the start of it.

    Returns:
        tuple[int, int] or None: None if it does not say, or is something else.
    """
    if stream.startswith(b'\xff\x4f\xff\x51') and len(stream) >= 24:
        right, lower, left, upper = struct.unpack('>4L', stream[8:24])
        return right - left, lower - upper
    if not stream.startswith(b'\xff\xd8'):
        return None
    offset = 2
    while offset + 9 <= len(stream) and stream[offset] == 0xFF:
        marker = stream[offset + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack('>2H', stream[offset + 5 : offset + 9])
            return (width, height) if height else None
        # fill bytes may stand before a marker
        offset += (
            1 if marker == 0xFF else 2 + int.from_bytes(stream[offset + 2 : offset + 4], 'big')
        )
    return None


def _first_fragment(content: bytes) -> bytes:
    """What follows the table of offsets, at most 64 KB of it."""
    if content[:4] != _ITEM:
        return b''
    start = 8 + int.from_bytes(content[4:8], 'little')
    return content[start + 8 : start + 8 + 2**16] if content[start : start + 4] == _ITEM else b''


# Values looked at to find the range: enough for the tails, cheap beside decoding.
_SAMPLE = 2**14


def _display_table(ds: Dataset, patterns: np.ndarray) -> np.ndarray:
    """Display value of every bit pattern of an 8- or 16-bit film.

    All the maths runs on the at most 65536 possible values and not on the plane.

    Args:
        ds (Dataset): Header of the film.
        patterns (np.ndarray): Stored bits (h, w), uint8 or uint16, signed values in two's
            complement.

    Returns:
        np.ndarray: Table (256,) or (65536,), float32 in [0, 1], indexed by the bits; not to be
            written to.
    """
    allocated = 8 * patterns.dtype.itemsize
    bits = min(int(short(ds, BITS_STORED) or allocated), allocated)
    signed = short(ds, PIXEL_REPRESENTATION) == 1
    if not signed and bits < allocated and ds.file_meta.TransferSyntaxUID.is_encapsulated:
        # A codec has no overlay bits: a value beyond BitsStored means that the header is wrong.
        bits = max(bits, int(patterns.max()).bit_length())
    grey = grey_scale_of_bits(ds, bits, signed, allocated)
    used = patterns.dtype.type(2**bits - 1)
    step = _step(patterns)
    if grey.table is not None and grey.voi is not None:
        # A line of the sample shows nearly every film not to be flat, and costs nothing.
        line = patterns[len(patterns) // 2 // step * step, ::step] & used
        if not is_flat(grey.voi, grey.without_padding(line)):
            return grey.table
    sample = grey.without_padding(patterns[::step, ::step].ravel() & used)
    return table_of(grey.shown(sample), allocated)


def _display_image(ds: Dataset, pixels: np.ndarray) -> np.ndarray:
    """The same for float and 32-bit films, which have no table.

    Args:
        ds (Dataset): Header of the film.
        pixels (np.ndarray): Stored values (h, w).

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        ValueError: If a value is NaN or inf.
    """
    if not np.isfinite(pixels).all():
        raise ValueError('the float pixels hold NaN or inf')
    step = _step(pixels)
    sample = np.arange(pixels.size).reshape(pixels.shape)[::step, ::step].ravel()
    grey = grey_scale(ds, pixels.ravel())
    return grey.shown(grey.without_padding(sample)).reshape(pixels.shape).astype(np.float32)


def _step(pixels: np.ndarray) -> int:
    """Every how many-th row and column make up the sample of a film."""
    return max(1, math.ceil(math.sqrt(pixels.size / _SAMPLE)))


_PIXEL_KEYWORDS = ('PixelData', 'FloatPixelData', 'DoubleFloatPixelData')

_STORED: dict[int, np.dtype] = {8: np.dtype('<u1'), 16: np.dtype('<u2')}

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)

_CODECS = 'pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg python-gdcm'


def read_dicom(path: str, file: BinaryIO | None = None) -> np.ndarray:
    """Read a DICOM film.

    Stored values pass the modality LUT or rescale, then the first VOI LUT or else the first window,
    then MONOCHROME1 is inverted. A window without positive width, or one that shows the film as one
    flat tone, counts as absent. Without VOI the film is stretched between the 0.1 and 99.9 % points
    of its values. Pixels of PixelPaddingValue (to PixelPaddingRangeLimit) take no part in that and
    come out as 0. Bits above BitsStored are ignored. Colour becomes luma (ITU-R BT.601).

    Args:
        path (str): DICOM file, with or without preamble.
        file (BinaryIO, optional): The same, open at its start. Defaults to None.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        RadiographError: If there are no pixels, several frames, too few bytes or no codec.
    """
    ds = _open(path, file)
    try:
        pixels = _decode(ds)
    except Exception as error:  # pydicom and its plugins raise whatever their libraries raise
        raise RadiographError(_why(path, ds, error)) from error
    try:
        if pixels.ndim == 3 or ds.get('PhotometricInterpretation') == 'PALETTE COLOR':
            return _colour_image(ds, pixels)
        return _grey_image(ds, pixels)
    except Exception as error:
        raise RadiographError(
            f"cannot read film '{path}' ({_syntax_name(ds)}): its header cannot be followed ({error}); "
            'correct it or copy the film anew from its source'
        ) from error


def dicom_size(path: str) -> tuple[int, int]:
    """Width and height (px) of a DICOM film from its header.

    Raises:
        RadiographError: If the header has no Rows and Columns.
    """
    try:
        tags = ['Rows', 'Columns']
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
        return int(ds.Columns), int(ds.Rows)
    except Exception as error:
        raise RadiographError(f"cannot read film '{path}': no DICOM image ({error})") from error


def looks_like_dicom(path: str) -> bool:
    """Whether a file without the DICM mark is a DICOM image all the same."""
    try:
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        return 'SOPClassUID' in ds or ('Rows' in ds and 'Columns' in ds)
    except Exception:  # any bytes at all are parsed here
        return False


def _open(path: str, file: BinaryIO | None) -> FileDataset:
    try:
        ds = pydicom.dcmread(path if file is None else file, force=True)
        fault = _header_fault(ds)
    # pydicom reads a value when it is asked for, and raises what it meets
    except Exception as error:
        raise RadiographError(
            f"cannot read film '{path}': truncated or damaged DICOM file ({error}); copy it anew "
            'from its source'
        ) from error
    if fault:
        raise RadiographError(f"cannot read film '{path}' ({_syntax_name(ds)}): {fault}")
    return ds


def _header_fault(ds: FileDataset) -> str | None:
    """Why these are not the pixels of one film, None if they are; sets a syntax where there is none."""
    syntax = getattr(ds, 'file_meta', None) and ds.file_meta.get('TransferSyntaxUID')
    if not syntax:
        if not hasattr(ds, 'file_meta'):
            ds.file_meta = pydicom.dataset.FileMetaDataset()
        implicit, little = ds.original_encoding
        little_syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        ds.file_meta.TransferSyntaxUID = (
            little_syntax if little else pydicom.uid.ExplicitVRBigEndian
        )
    if not any(keyword in ds for keyword in _PIXEL_KEYWORDS):
        if 'SOPClassUID' in ds:
            why = f'it holds no pixel data (it is a {UID(ds.SOPClassUID).name})'
        else:
            why = 'truncated before or in its pixels'
        return f'{why}; take it out of the list or copy it anew'
    frames = int(ds.get('NumberOfFrames') or 1)
    if frames > 1:
        return (
            f'it has {frames} frames, a film has one; write the frame wanted to a file of its own'
        )
    fault = _extent_fault(ds)
    return fault and f'{fault}; correct its header or copy it anew from its source'


def _decode(ds: FileDataset) -> np.ndarray:
    """Stored values, (h, w) or (h, w, 3)."""
    grey = short(ds, SAMPLES_PER_PIXEL, 1) == 1
    syntax = ds.file_meta.TransferSyntaxUID
    stored = _STORED.get(short(ds, BITS_ALLOCATED) or 0)
    if grey and syntax in _NATIVE and stored is not None and _PIXEL_DATA in ds:
        # The table masks unused bits and reads signs: the bytes are used as they lie in the file.
        rows, columns = short(ds, ROWS), short(ds, COLUMNS)
        content = ds.get_item(_PIXEL_DATA).value
        if rows and columns and len(content or b'') >= rows * columns * stored.itemsize:
            return np.frombuffer(content, stored, rows * columns).reshape(rows, columns)
    if grey and syntax == JPEGBaseline8Bit and 'pillow' in get_decoder(syntax).available_plugins:
        # libjpeg-turbo: several times faster than the other plugins
        ds.pixel_array_options(decoding_plugin='pillow')
    return ds.pixel_array


def _grey_image(ds: FileDataset, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == 'f' or pixels.dtype.itemsize > 2:
        return _display_image(ds, pixels)
    if not (pixels.dtype.isnative and pixels.flags.c_contiguous):
        pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder('='))
    patterns = pixels.view(np.uint8 if pixels.dtype.itemsize == 1 else np.uint16)
    return look_up(_display_table(ds, patterns), patterns)


def _colour_image(ds: FileDataset, pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pydicom.pixels.apply_color_lut(pixels, ds)
        full = np.float32(np.iinfo(pixels.dtype).max)
    else:
        full = np.float32(2**ds.BitsStored - 1)
    rgb = np.divide(pixels[..., :3], full, dtype=np.float32)
    return np.clip(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 0, 1)


def _syntax_name(ds: FileDataset) -> str:
    uid = UID(str(ds.file_meta.TransferSyntaxUID))
    return f'transfer syntax {uid.name}' + (
        f' [{uid}]' if uid.name != uid else ', unknown to pydicom'
    )


def _why(path: str, ds: FileDataset, error: Exception) -> str:
    start = f"cannot read film '{path}' ({_syntax_name(ds)}): "
    try:
        decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
    except NotImplementedError:
        return start + 'pydicom has no decoder for it; convert the film, e.g. with `gdcmconv --raw`'
    if not decoder.is_available:
        missing = '; '.join(decoder.missing_dependencies)
        return start + f'missing codec: {missing}. Mend it with `{_CODECS}`'
    return start + f'truncated or damaged pixel data ({error}); copy it anew from its source'
