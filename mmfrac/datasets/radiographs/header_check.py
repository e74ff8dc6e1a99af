# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether a DICOM header fits its pixels: every field that the pixels, or their codestream, know, too.

The rules, each in one place:

- Rows, Columns, SamplesPerPixel, BitsAllocated, BitsStored, HighBit, PixelRepresentation and
  PhotometricInterpretation that cannot be, or contradict each other, are errors.
  PhotometricInterpretation is read without regard to case and spaces.
- Uncompressed pixels of another length than the header says, a codestream of another size, kind or
  number of samples, one that does not end or lacks tiles, scans or restart marks, and several of them,
  are errors.
- YBR_FULL of a codestream that turns its colours itself, and YBR_ICT or YBR_RCT of a JPEG, are errors.
- Samples that lie as high as HighBit says, with empty bits below, are shifted down. Samples that
  contradict HighBit and fit BitsStored are read by BitsStored, with a note; all others are an error.
- Values above BitsStored are read with as many bits as they need, with a note, unless the header tells
  of overlays there, whose bits are ignored.
- A codestream's own depth counts. Where header and codestream differ in the sign, pixels that are the
  same either way are read; all others are an error.

A note is a sentence for whoever reads the image: it was read, and this is doubtful.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from mmfrac.datasets.radiographs.codestream import (
    END_OF_IMAGE,
    JPEG,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    Codestream,
    codestream_header,
    gap_fault,
    is_next_image,
    tile_fault,
)
from mmfrac.datasets.radiographs.dicom_header import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    HIGH_BIT,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_REPRESENTATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    code,
    short,
)
from mmfrac.datasets.radiographs.jpeg_scans import scans_fault
from mmfrac.datasets.radiographs.limits import size_fault

GREY = ('MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR')

COLOUR = ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT')

ITEM = b'\xfe\xff\x00\xe0'

# Bytes that may fill a fragment, at most.
_FILLING = 16

# What follows the number of segments: where the first one starts.
_RLE_OFFSET = b'\x40\0\0\0'

_FLOAT_PIXELS = (BaseTag(0x7FE00008), BaseTag(0x7FE00009))

_KINDS: dict[UID, str] = {
    JPEGBaseline8Bit: JPEG,
    JPEGExtended12Bit: JPEG,
    JPEGLossless: JPEG_LOSSLESS,
    JPEGLosslessSV1: JPEG_LOSSLESS,
    **dict.fromkeys(JPEGLSTransferSyntaxes, JPEG_LS),
    **dict.fromkeys(JPEG2000TransferSyntaxes, JPEG_2000),
    **dict.fromkeys((HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), JPEG_2000),
}


class HeaderError(ValueError):
    """A header that cannot be, or contradicts its pixels.

    Args:
        message (str): What is wrong.
        without_text (str, optional): The same without a text of the header. Defaults to ``message``.
    """

    def __init__(self, message: str, without_text: str | None = None) -> None:
        super().__init__(message)
        self.without_text = without_text or message


class ImageFormat(NamedTuple):
    """What a header says of stored pixels.

    Attributes:
        rows, columns (int): px.
        samples (int): Of a pixel.
        allocated, bits, high_bit (int): BitsAllocated, BitsStored, HighBit.
        is_signed (bool): PixelRepresentation.
        photometric (str): PhotometricInterpretation in capitals.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    bits: int
    high_bit: int
    is_signed: bool
    photometric: str

    @property
    def native_length(self) -> int:
        """Bytes of uncompressed pixels."""
        # two pixels of YBR_FULL_422 share their colour
        samples = 2 if self.photometric == 'YBR_FULL_422' else self.samples
        return math.ceil(self.rows * self.columns * samples * self.allocated / 8)


def image_format(ds: Dataset, notes: list[str]) -> ImageFormat:
    """What a header says of the pixels.

    Args:
        ds (Dataset): Header.
        notes (list[str]): What is doubtful is added.

    Returns:
        ImageFormat: As it can be.

    Raises:
        HeaderError: If it cannot be.
    """
    rows, columns = _number(ds, ROWS, 'Rows'), _number(ds, COLUMNS, 'Columns')
    fault = size_fault(columns or 0, rows or 0)
    if fault:
        raise HeaderError(fault)
    assert rows and columns
    samples = _number(ds, SAMPLES_PER_PIXEL, 'SamplesPerPixel', 1)
    is_float = any(tag in ds for tag in _FLOAT_PIXELS)
    allocated = _number(ds, BITS_ALLOCATED, 'BitsAllocated')
    bits = allocated if is_float else _number(ds, BITS_STORED, 'BitsStored', allocated)
    if allocated not in (1, 8, 16, 32, 64):
        raise HeaderError(f'its header says BitsAllocated {allocated}')
    assert bits is not None
    if not 0 < bits <= allocated:
        raise HeaderError(f'its header says BitsStored {bits}, BitsAllocated {allocated}')
    high_bit = bits - 1 if is_float else _number(ds, HIGH_BIT, 'HighBit', bits - 1)
    assert high_bit is not None
    if not 0 <= high_bit < allocated:
        raise HeaderError(f'its header says HighBit {high_bit}, BitsAllocated {allocated}')
    sign = 0 if is_float else _number(ds, PIXEL_REPRESENTATION, 'PixelRepresentation', 0)
    if sign not in (0, 1):
        raise HeaderError(f'its header says PixelRepresentation {sign}')
    photometric = code(ds, PHOTOMETRIC_INTERPRETATION)
    if not photometric and samples == 1:
        photometric = 'MONOCHROME2'
        notes.append('it has no PhotometricInterpretation and is taken for MONOCHROME2')
    if photometric not in {1: GREY, 3: COLOUR}.get(samples or 0, ()):
        raise HeaderError(
            f"its header says PhotometricInterpretation '{photometric}', SamplesPerPixel {samples}",
            f'its header has an unknown PhotometricInterpretation for SamplesPerPixel {samples}',
        )
    return ImageFormat(
        rows, columns, samples or 1, allocated, bits, high_bit, bool(sign), photometric
    )


def content_fault(form: ImageFormat, syntax: UID, content: bytes) -> str | None:
    """How pixel data contradicts the header.

    A film of too many native pixels comes out sheared, or is the first of several frames; a codec that
    meets another size than it was told shears the film, too, or ends the process.

    Args:
        form (ImageFormat): What the header says.
        syntax (UID): Transfer syntax.
        content (bytes): Value of PixelData.

    Returns:
        str or None: None if they agree, or nothing can be told.
    """
    if not syntax.is_transfer_syntax:
        return None
    if syntax.is_encapsulated:
        offsets = int.from_bytes(content[4:8], 'little') if content[:4] == ITEM else 0
        if offsets > 4:
            return f'it has {offsets // 4} frames, a film has one'
        fragments = _fragments(content)
        if fragments and fragments[-1].stop > len(content):
            return 'truncated: its pixels end before they should'
        stream = codestream_of(content)
        fault = codestream_fault(form, syntax, stream) or _images_fault(
            form, syntax, content, fragments
        )
        kind = _KINDS.get(syntax)
        if fault or kind is None:
            return fault
        if kind == JPEG_2000:
            return tile_fault(stream) or gap_fault(stream)
        if not _ends(content):
            return 'its pixels are truncated: they have no end mark'
        return scans_fault(stream) if kind == JPEG else None
    fault = native_fault(form, len(content), content[:4] == ITEM)
    if fault:
        return fault
    return excess_fault(form, len(content), content[form.native_length :])


def _images_fault(
    form: ImageFormat, syntax: UID, content: bytes, fragments: list[slice]
) -> str | None:
    """Whether several images lie in the fragments of pixel data."""
    rle_start = (form.samples * form.allocated // 8).to_bytes(4, 'little') + _RLE_OFFSET
    images = 1
    for before, after in itertools.pairwise(fragments):
        start = content[after.start : after.start + 8]
        if syntax == RLELossless:
            images += start == rle_start
        elif syntax in _KINDS:
            end = content[max(before.start, before.stop - _FILLING) : before.stop]
            images += is_next_image(end, start)
    return f'it has {images} frames, a film has one' if images > 1 else None


def excess_fault(form: ImageFormat, length: int, rest: bytes) -> str | None:
    """Why there are more uncompressed pixels than a header says.

    Args:
        form (ImageFormat): What the header says.
        length (int): Bytes of the pixels.
        rest (bytes): Those behind the ones that the header tells of.

    Returns:
        str or None: None if the rest is none of an image.
    """
    row = max(form.native_length // form.rows, 1)
    # Trailing bytes are common, rows of them are none; one value over and over is a filler.
    if len(rest) < row or rest.count(rest[:1]) == len(rest):
        return None
    return (
        f'its header says {form.columns} x {form.rows} px, {form.native_length} bytes, but there are '
        f'{length}: Rows or Columns are wrong, or it has several frames'
    )


def native_fault(form: ImageFormat, length: int, has_items: bool) -> str | None:
    """Why pixels are not the uncompressed ones of a header.

    Args:
        form (ImageFormat): What the header says.
        length (int): Bytes of the pixels.
        has_items (bool): Whether they are in items, as compressed ones are.

    Returns:
        str or None: None if they may be.
    """
    if has_items:
        return 'its pixels are compressed, and its transfer syntax says that they are not'
    if length < form.native_length:
        return (
            f'truncated: its header says {form.columns} x {form.rows} px, {form.native_length} bytes, '
            f'but there are {length}'
        )
    return None


def codestream_fault(form: ImageFormat, syntax: UID, stream: bytes) -> str | None:
    """How a codestream contradicts the header.

    Args:
        form (ImageFormat): What the header says.
        syntax (UID): Transfer syntax.
        stream (bytes): Codestream, or the start of it.

    Returns:
        str or None: None if they agree, or nothing can be told.
    """
    if syntax == RLELossless:
        segments, expected = (
            int.from_bytes(stream[:4], 'little'),
            form.samples * form.allocated // 8,
        )
        if segments != expected:
            return f'its pixels have {segments} bytes each, its header says {expected}'
        return None
    header = codestream_header(stream)
    if header is None:
        return None
    kind = _KINDS.get(syntax)
    if kind not in (None, header.kind):
        return f'its transfer syntax says {kind}, its pixels are {header.kind}'
    # its colours would be turned into others twice, or not at all
    is_twice = header.transform and form.photometric in ('YBR_FULL', 'YBR_FULL_422')
    if is_twice or (header.kind == JPEG and form.photometric in ('YBR_ICT', 'YBR_RCT')):
        return (
            f'its header says PhotometricInterpretation {form.photometric}, its pixels are '
            f'{header.transform or header.kind}'
        )
    if header.height and (header.width, header.height) != (form.columns, form.rows):
        return (
            f'its header says {form.columns} x {form.rows} px, its pixels are '
            f'{header.width} x {header.height} px'
        )
    if header.components != form.samples:
        return (
            f'its header says {form.samples} samples a pixel, its pixels have {header.components}'
        )
    if not 1 < header.precision <= max(form.allocated, 8):
        return f'its header says BitsAllocated {form.allocated}, its pixels have {header.precision}'
    return None


def codestream_note(syntax: UID, content: bytes) -> str | None:
    """What is doubtful of compressed pixels without an end; JPEG 2000 only, of others it is an error."""
    if _KINDS.get(syntax) == JPEG_2000 and not _ends(content):
        return 'its pixels have no end mark and may be truncated'
    return None


def codestream_of(content: bytes, most: int | None = None) -> bytes:
    """What follows the table of offsets, in one or several fragments.

    Args:
        content (bytes): Value of PixelData, or the start of it.
        most (int, optional): Bytes of it at most. Defaults to None: all.
    """
    return b''.join(content[part] for part in _fragments(content, most))[:most]


def _fragments(content: bytes, most: int | None = None) -> list[slice]:
    """Where the fragments are, or as many of them as have so many bytes."""
    found: list[slice] = []
    offset = 8 + int.from_bytes(content[4:8], 'little') if content[:4] == ITEM else len(content)
    left = len(content) if most is None else most
    while content[offset : offset + 4] == ITEM and offset + 8 <= len(content) and left > 0:
        start = offset + 8
        offset = start + int.from_bytes(content[offset + 4 : start], 'little')
        found.append(slice(start, offset if most is None else min(offset, start + left)))
        left -= offset - start
    return found


def grey_samples(
    ds: Dataset,
    form: ImageFormat,
    header: Codestream | None,
    patterns: np.ndarray,
    notes: list[str],
) -> tuple[np.ndarray, int, bool]:
    """Where in the stored bits the samples are.

    Args:
        ds (Dataset): Header, of overlays.
        form (ImageFormat): What it says.
        header (Codestream or None): What the codestream says; None for bytes as they lie in the file.
        patterns (np.ndarray): Stored bits (h, w), uint8 to uint64; negative values in two's complement.
        notes (list[str]): What is doubtful is added.

    Returns:
        tuple[np.ndarray, int, bool]: Patterns, of which the lower bits count; how many; whether they
            have a sign.

    Raises:
        HeaderError: If header and pixels contradict each other.
    """
    if form.high_bit != form.bits - 1:
        patterns, shift = _lowered(ds, form, header, patterns, notes)
        if header is not None:
            header = header._replace(precision=header.precision - shift)
    if header is not None and (
        header.precision != form.bits
        or header.is_signed != form.is_signed
        or (form.is_signed and header.kind == JPEG)
    ):
        return _codestream_samples(form, header, patterns, notes)
    if form.bits >= 8 * patterns.itemsize:
        return patterns, form.bits, form.is_signed
    if _fits(patterns, form.bits, form.is_signed) or _has_overlay_bits(ds, form):
        return patterns, form.bits, form.is_signed
    bits = _bits_needed(patterns, form.is_signed)
    notes.append(f'its header says BitsStored {form.bits}, its values need {bits} bits')
    return patterns, bits, form.is_signed


def _codestream_samples(
    form: ImageFormat, header: Codestream, patterns: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, int, bool]:
    """The same where header and codestream differ in the depth or the sign."""
    depth, bits = header.precision, form.bits
    signed = patterns.view(f'i{patterns.itemsize}')
    if header.is_signed:
        if not form.is_signed and int(signed.min()) < 0:
            raise HeaderError('its header says that its values have no sign, its pixels have one')
        needed = _bits_needed(patterns, form.is_signed)
    else:
        highest = int(patterns.max())
        needed = highest.bit_length() + int(form.is_signed)
        if form.is_signed and needed > min(depth, bits):
            # sign-extended to the depth of the codestream: the same values in fewer bits
            shift = 8 * patterns.itemsize - depth
            extended = (signed << shift) >> shift
            needed = _bits_needed(extended.view(patterns.dtype), True)
            if header.kind == JPEG or header.kind == JPEG_2000 or depth < bits or needed > bits:
                raise HeaderError(
                    f'its header says that its {bits}-bit values have a sign, its {depth}-bit pixels '
                    'have none'
                )
            patterns = extended.view(patterns.dtype)
    if needed > bits:
        notes.append(f'its header says BitsStored {bits}, its values need {needed} bits')
    # 8-bit pixels, of which the header says 12
    bits = min(max(needed, bits), max(8 * patterns.itemsize, needed))
    return patterns, bits, form.is_signed


def _lowered(
    ds: Dataset,
    form: ImageFormat,
    header: Codestream | None,
    patterns: np.ndarray,
    notes: list[str],
) -> tuple[np.ndarray, int]:
    """Patterns whose lowest bit is that of the samples, and by how much they were lowered."""
    used = int(np.bitwise_or.reduce(patterns, axis=None))
    shift = form.high_bit + 1 - form.bits
    is_high = shift > 0 and (not used & (2**shift - 1) or _has_overlay_bits(ds, form))
    # a codestream holds the samples alone, wherever they lay before
    if is_high and (header is None or used.bit_length() > form.bits):
        return patterns >> patterns.dtype.type(shift), shift
    if used.bit_length() > form.bits and not form.is_signed:
        raise HeaderError(
            f'its header says BitsStored {form.bits}, HighBit {form.high_bit}, its values lie '
            'elsewhere'
        )
    notes.append(
        f'its header says HighBit {form.high_bit}, its values lie in the lower {form.bits} bits'
    )
    return patterns, 0


def _bits_needed(patterns: np.ndarray, is_signed: bool) -> int:
    """Bits of the values at least."""
    if not is_signed:
        return int(patterns.max()).bit_length()
    values = patterns.view(f'i{patterns.itemsize}')
    low, high = int(values.min()), int(values.max())
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def _fits(patterns: np.ndarray, bits: int, is_signed: bool) -> bool:
    """Whether nothing is in the bits above but the sign."""
    highest = 2**bits - 1
    if int(patterns.max()) <= highest:
        return True
    if not is_signed:
        return False
    values = patterns.view(f'i{patterns.itemsize}')
    return int(values.max()) <= highest and int(values.min()) >= -(2 ** (bits - 1))


def _has_overlay_bits(ds: Dataset, form: ImageFormat) -> bool:
    """Whether the header tells of overlays in bits besides those of the samples (retired)."""
    for group in range(0x6000, 0x6020, 2):
        position = short(ds, BaseTag(group << 16 | 0x0102))
        if isinstance(position, int) and position > 0:
            return not form.high_bit - form.bits < position <= form.high_bit
    return False


def _ends(content: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 codestream ends with the mark of its end."""
    return END_OF_IMAGE in content[-16:] or content[-4096:].rstrip(b'\0').endswith(END_OF_IMAGE)


def _number(ds: Dataset, tag: BaseTag, name: str, default: int | None = None) -> int | None:
    value = short(ds, tag, default)
    if value is None:
        value = default
    if value is not None and not isinstance(value, int):
        raise HeaderError(
            f'its header says {name} {value!r}'[:200], f'its header says a {name} that is no number'
        )
    return value
