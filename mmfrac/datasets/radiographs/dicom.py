# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A DICOM file as a plane: its pixels, and how its header shows them."""

import functools
import io
import itertools
import logging
import re
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, BinaryIO, NamedTuple, cast

import cv2
import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import _read_file_meta_info, read_partial, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from mmfrac.datasets.radiographs.codestream import (
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    Codestream,
    codestream_header,
    with_more_data,
)
from mmfrac.datasets.radiographs.dicom_header import (
    COLUMNS,
    MODALITY_LUT_SEQUENCE,
    ROWS,
    VOI_LUT_SEQUENCE,
    short,
)
from mmfrac.datasets.radiographs.grey_scale import (
    FLAT,
    Ends,
    GreyScale,
    bits_of_entries,
    find_ends,
    grey_scale,
    grey_scale_of_bits,
    is_flat,
    is_saturated,
    look_up,
    table_of,
)
from mmfrac.datasets.radiographs.header_check import (
    ITEM,
    HeaderError,
    ImageFormat,
    codestream_note,
    codestream_of,
    content_fault,
    grey_samples,
    image_format,
)
from mmfrac.datasets.radiographs.limits import check_size, max_bytes
from mmfrac.utils.errors import RadiographError, one_line
from mmfrac.utils.guard import run_guarded

_PIXEL_DATA = BaseTag(0x7FE00010)

_DELIMITER = b'\xfe\xff\xdd\xe0\0\0\0\0'

# Within which a codestream says what it is.
_HEAD = 2**16

# Time of a processor to decode an image, s: at least, and for each pixel.
_SECONDS, _SECONDS_A_PIXEL = 4.0, 5e-6

# One of the whole, one to see whether it is whole.
_DECODINGS = 2


class Pixels(NamedTuple):
    """Pixels as they are stored.

    Attributes:
        values (np.ndarray): (h, w) or (h, w, 3).
        form (ImageFormat): What the header says of them.
        header (Codestream or None): What their codestream says.
    """

    values: np.ndarray
    form: ImageFormat
    header: Codestream | None


# Of a film, to see at a glance how its window shows it.
_LINES = 8


def _display_table(
    ds: Dataset, patterns: np.ndarray, bits: int, signed: bool, notes: list[str]
) -> np.ndarray:
    """Display value of every bit pattern of an 8- or 16-bit film.

    All the maths runs on the at most 65536 possible values and not on the plane.

    Args:
        ds (Dataset): Header of the film.
        patterns (np.ndarray): Stored bits (h, w), uint8 or uint16, signed values in two's
            complement.
        bits (int): How many of them count.
        signed (bool): Whether they have a sign.
        notes (list[str]): What is doubtful is added.

    Returns:
        np.ndarray: Table (256,) or (65536,), float32 in [0, 1], indexed by the bits; not to be
            written to.
    """
    allocated = 8 * patterns.dtype.itemsize
    grey = grey_scale_of_bits(ds, bits, signed, allocated)
    notes += grey.notes
    used = patterns.dtype.type(2**bits - 1)
    if grey.table is not None and grey.voi is not None:
        # Some lines show nearly every film not to be flat or saturated, and cost nothing.
        lines = patterns[:: max(len(patterns) // _LINES, 1)].ravel() & used
        sample = grey.without_padding(lines)
        if not (is_flat(grey.voi, sample) or is_saturated(grey.voi, sample)):
            return grey.table
    ends = _ends(grey, patterns, bits, signed)
    if ends is not None:
        return table_of(grey.stretched(ends, notes), allocated)
    return table_of(grey.shown(_counts(patterns, bits), notes), allocated)


def _ends(grey: GreyScale, patterns: np.ndarray, bits: int, signed: bool) -> Ends | None:
    """Ends of the film's values where no VOI shows it, None where all of them have to be counted."""
    if grey.voi is not None or grey.padding is not None or not grey.is_ordered:
        return None
    stored = patterns.view(f'i{patterns.itemsize}') if signed else patterns
    ends = find_ends(stored.ravel())
    lowest = -(2 ** (bits - 1)) if signed else 0
    if ends.least < lowest or ends.most >= lowest + 2**bits:
        return None
    return Ends(*grey.values[np.array(ends).astype(int) & (2**bits - 1)])


def _counts(patterns: np.ndarray, bits: int) -> np.ndarray:
    """How many pixels have each value of the lower bits, (2**bits,)."""
    size = int(patterns.max()) + 1
    counts = cv2.calcHist([patterns], [0], None, [size], [0, size])
    counts = np.rint(counts.ravel()).astype(np.int64)
    padded = np.zeros(-(-size // 2**bits) * 2**bits, np.int64)
    padded[:size] = counts
    return padded.reshape(-1, 2**bits).sum(axis=0)


def _lower_bits(patterns: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Values (h, w) of the lower bits of patterns (h, w), unsigned."""
    above = max(8 * patterns.itemsize - bits, 0)
    values = patterns.view(f'i{patterns.itemsize}') if signed else patterns
    return (values << above) >> above if above else values


def _display_image(ds: Dataset, pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """The same for float and 32-bit films, which have no table.

    Args:
        ds (Dataset): Header of the film.
        pixels (np.ndarray): Stored values (h, w).
        notes (list[str]): What is doubtful is added.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        ValueError: If a value is NaN or inf.
    """
    if not np.isfinite(pixels).all():
        raise ValueError('the float pixels hold NaN or inf')
    grey = grey_scale(ds, pixels.ravel())
    notes += grey.notes
    if grey.voi is None and grey.padding is None:
        shown = grey.stretched(find_ends(grey.values), notes)
    else:
        shown = grey.shown(np.ones(pixels.size, np.int64), notes)
    return shown.reshape(pixels.shape).astype(np.float32)


_PIXELS = (_PIXEL_DATA, BaseTag(0x7FE00008), BaseTag(0x7FE00009))

_STORED: dict[int, np.dtype] = {8: np.dtype('<u1'), 16: np.dtype('<u2')}

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)

_CODECS = 'pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg python-gdcm'


def read_dicom(path: str, file: BinaryIO, notes: list[str]) -> np.ndarray:
    """Read a DICOM film.

    ``header_check`` says where in the stored bits the values are. They pass the modality LUT or
    rescale, then the first VOI LUT or else the first window, then MONOCHROME1 is inverted;
    ``grey_scale`` says what holds where these contradict themselves. Without VOI the film is stretched
    between the 0.1 and 99.9 % points of its values. Pixels of PixelPaddingValue (to
    PixelPaddingRangeLimit) take no part in that and come out as 0. Colour becomes luma (ITU-R BT.601).

    Args:
        path (str): DICOM file, with or without preamble.
        file (BinaryIO): The same, open at its start.
        notes (list[str]): What is doubtful of the image is added, a sentence each.

    Returns:
        np.ndarray: Plane (h, w), float32 in [0, 1].

    Raises:
        RadiographError: If there are no pixels, several frames, too few bytes or no codec, or if header
            and pixels contradict each other.
    """
    ds, form = _open(path, file, notes)
    try:
        pixels = _decode(ds, form, notes)
    except Exception as error:  # pydicom and its plugins raise whatever their libraries raise
        raise RadiographError(_why(path, ds, error)) from error
    try:
        if form.samples == 3 or form.photometric == 'PALETTE COLOR':
            return _colour_image(ds, pixels, notes)
        return _grey_image(ds, pixels, notes)
    except HeaderError as error:
        raise RadiographError(_contradiction(path, ds, str(error))) from error
    except Exception as error:
        raise RadiographError(
            f"cannot read film '{path}' ({_syntax_name(ds)}): its header cannot be followed "
            f'({one_line(error)}); correct it or copy the film anew from its source'
        ) from error


def dicom_size(path: str) -> tuple[int, int]:
    """Width and height (px) of a DICOM film from its header.

    Raises:
        RadiographError: If the header has no Rows and Columns, or no radiograph is of that size.
    """
    try:
        with open(path, 'rb') as file:
            ds = read_elements(plain(file), [ROWS, COLUMNS], is_pixels)
        width, height = int(ds.Columns), int(ds.Rows)
    except Exception as error:
        raise RadiographError(
            f"cannot read film '{path}': no DICOM image ({one_line(error)})"
        ) from error
    check_size(path, width, height)
    return width, height


def looks_like_dicom(path: str) -> bool:
    """Whether a file without the DICM mark is a DICOM image all the same."""
    try:
        with open(path, 'rb') as file:
            ds = read_elements(plain(file), stop_when=is_pixels)
        return 'SOPClassUID' in ds or ('Rows' in ds and 'Columns' in ds)
    except Exception:  # any bytes at all are parsed here
        return False


# Where the transfer syntax stands in a file.
_META = 2**14

# What a header never starts with; pydicom would take zeros for elements, one by one to the end.
_ZEROS = bytes(16)

_PREAMBLE, _MARK, _META_LENGTH = 128, b'DICM', b'\2\0\0\0'

# Of a header at most: elements, or a third as many items of sequences.
_MOST_PARTS = 2**16

# Sequences that are asked for: those of a known length pydicom takes apart then.
_SEQUENCES = (
    *(MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE),
    # of the view's code, of source images and of the part of the body
    *(BaseTag(0x00540220), BaseTag(0x00082112), BaseTag(0x00082218)),
)


class _HeaderFile:
    """A file of which pydicom asks for the position at each part of a header, in sequences, too.

    Args:
        file (BinaryIO): The file, at whatever position.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self._tell = file.read, file.seek, file.tell
        self._parts = itertools.count()

    def tell(self) -> int:
        """Where it is; raises a HeaderError where there are too many parts, as of zeros."""
        if next(self._parts) > _MOST_PARTS:
            raise _too_many_parts()
        return self._tell()


def _too_many_parts() -> HeaderError:
    return HeaderError(f'damaged: its header has more than {_MOST_PARTS} elements')


class _Silence:
    """Warnings and loggers are of the process: the first thread silences them, the last one restores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter('ignore')
            for name in ('pydicom', 'highdicom'):
                logger = logging.getLogger(name)
                self._restore.callback(setattr, logger, 'propagate', logger.propagate)
                logger.propagate = False

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore.close()


_SILENCE = _Silence()


def values_unsaid() -> AbstractContextManager[None]:
    """Keep pydicom and highdicom from warnings and log records that quote a header: names, dates.

    Any number of threads may be within.
    """
    return _SILENCE


def read_elements(
    file: BinaryIO,
    tags: list | None = None,
    stop_when: Callable[[Any, str | None, int], bool] | None = None,
    largest: int | None = None,
) -> FileDataset:
    """Elements of a file, as ``pydicom.dcmread`` reads them, but not without end.

    Args:
        file (BinaryIO): What :func:`plain` returns.
        tags (list, optional): Those wanted. Defaults to None: all.
        stop_when (Callable, optional): As of ``pydicom.filereader.read_partial``. Defaults to None.
        largest (int, optional): Bytes of a value that is read before it is asked for. Defaults to None:
            any.

    Raises:
        HeaderError: If there are too many.
    """
    header = cast(BinaryIO, _HeaderFile(file))
    with values_unsaid():
        ds = read_partial(header, stop_when, largest, force=True, specific_tags=tags)
    if isinstance(file, io.BufferedReader):
        # where pydicom looks for larger values
        ds.filename, ds.fileobj_type, ds.buffer = file.name, open, None
    for element in map(ds.get_item, _SEQUENCES):
        if isinstance(element, RawDataElement):
            value = element.value
            items = value.count(ITEM) if value is not None else element.length // len(ITEM)
            if 3 * items > _MOST_PARTS:
                raise _too_many_parts()
    return ds


def is_pixels(tag: Any, vr: str | None, length: int) -> bool:
    """Whether an element is pixels; ``stop_when`` of pydicom."""
    return tag in _PIXELS


def _check_start(head: bytes) -> None:
    """Raise a HeaderError if there are zeros where the header of a file begins."""
    start = _PREAMBLE + len(_MARK) if head[_PREAMBLE:].startswith(_MARK) else 0
    if head[start : start + 4] == _META_LENGTH:
        start += 12 + int.from_bytes(head[start + 8 : start + 12], 'little')
    if head[start : start + len(_ZEROS)] == _ZEROS:
        raise HeaderError('damaged: there are zeros in the place of its header')


def plain(file: BinaryIO) -> BinaryIO:
    """A DICOM file as pydicom is to read it: inflated where it is deflated, but not without end.

    Args:
        file (BinaryIO): Open at its start.

    Returns:
        BinaryIO: The same, or what it holds, at its start.

    Raises:
        HeaderError: If it holds more than an image, or zeros in the place of its header.
        zlib.error: If it is damaged.
    """
    head = file.read(_META)
    file.seek(0)
    _check_start(head)
    if DeflatedExplicitVRLittleEndian.encode() not in head:
        return file
    read_preamble(file, force=True)
    meta = _read_file_meta_info(file)
    if meta.get('TransferSyntaxUID') != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(file.read(), max_bytes())
    _check_start(content[: len(_ZEROS)])
    if inflater.unconsumed_tail:
        raise HeaderError(f'it inflates to more than {max_bytes()} bytes, no image')
    if not inflater.eof:
        raise HeaderError('truncated: its deflated content has no end')
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = io.BytesIO()
    whole.write(bytes(128) + b'DICM')
    write_file_meta_info(whole, meta, enforce_standard=False)  # type: ignore[arg-type]
    whole.write(content)
    whole.seek(0)
    return whole


def _open(path: str, file: BinaryIO, notes: list[str]) -> tuple[FileDataset, ImageFormat]:
    ds = None
    try:
        ds = read_elements(plain(file))
        if not len(ds):
            # pydicom drops everything where no delimiter ends compressed pixels
            file.seek(0)
            ended = io.BytesIO(file.read() + _DELIMITER)
            ds = read_elements(ended)
        _check_kind(ds)
        form = image_format(ds, notes)
        element = ds.get_item(_PIXEL_DATA)
        content = element.value if element is not None else None
        if isinstance(content, bytes):
            fault = content_fault(form, _uid(str(ds.file_meta.TransferSyntaxUID)), content)
            if fault:
                raise HeaderError(fault)
        return ds, form
    except HeaderError as error:
        raise RadiographError(_contradiction(path, ds, str(error))) from error
    # pydicom reads a value when it is asked for, and raises what it meets
    except Exception as error:
        raise RadiographError(
            f"cannot read film '{path}': truncated or damaged DICOM file ({one_line(error)}); copy it "
            'anew from its source'
        ) from error


def _contradiction(path: str, ds: FileDataset | None, fault: str) -> str:
    syntax = '' if ds is None else f' ({_syntax_name(ds)})'
    return (
        f"cannot read film '{path}'{syntax}: {fault}; correct its header or copy it anew from its "
        'source'
    )


@functools.lru_cache(maxsize=64)
def _uid(text: str) -> UID:
    # made anew its text would be looked at each time
    return UID(text)


def _check_kind(ds: FileDataset) -> None:
    """Raise a HeaderError if these are not the pixels of one film; sets a syntax where there is none."""
    syntax = getattr(ds, 'file_meta', None) and ds.file_meta.get('TransferSyntaxUID')
    if not syntax:
        if not hasattr(ds, 'file_meta'):
            ds.file_meta = pydicom.dataset.FileMetaDataset()
        implicit, little = ds.original_encoding
        little_syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        ds.file_meta.TransferSyntaxUID = (
            little_syntax if little else pydicom.uid.ExplicitVRBigEndian
        )
    if not any(tag in ds for tag in _PIXELS):
        if 'SOPClassUID' in ds:
            raise HeaderError(
                f'it holds no pixel data (it is a {UID(str(ds.SOPClassUID)[:64]).name})'
            )
        raise HeaderError('truncated before or in its pixels')
    try:
        frames = int(ds.get('NumberOfFrames') or 1) if _NUMBER_OF_FRAMES in ds else 1
    except (TypeError, ValueError) as error:
        raise HeaderError('its NumberOfFrames is no number') from error
    if frames > 1:
        raise HeaderError(
            f'it has {frames} frames, a film has one; write the frame wanted to a file of its own'
        )


def _decode(ds: FileDataset, form: ImageFormat, notes: list[str]) -> Pixels:
    """Stored values, (h, w) or (h, w, 3)."""
    syntax = _uid(str(ds.file_meta.TransferSyntaxUID))
    stored = _STORED.get(form.allocated)
    if form.samples == 1 and syntax in _NATIVE and stored is not None and _PIXEL_DATA in ds:
        # The bytes are used as they lie in the file; a table reads signs.
        content = ds.get_item(_PIXEL_DATA).value
        pixels = np.frombuffer(content, stored, form.rows * form.columns)
        return Pixels(pixels.reshape(form.rows, form.columns), form, None)
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise NotImplementedError(decoder.UID)
    options: dict[str, Any] = dict(
        rows=form.rows,
        columns=form.columns,
        number_of_frames=1,
        samples_per_pixel=form.samples,
        photometric_interpretation=form.photometric,
        bits_allocated=form.allocated,
        bits_stored=form.bits,
        pixel_representation=int(form.is_signed),
        planar_configuration=short(ds, _PLANAR, 0) or 0,
    )
    if not syntax.is_encapsulated:
        options |= dict(correct_unused_bits=False, allow_excess_frames=False)
        return Pixels(decoder.as_array(ds, **options)[0], form, None)
    content = ds.get_item(_PIXEL_DATA).value
    note = codestream_note(syntax, content)
    notes += [note] if note else []
    header = codestream_header(codestream_of(content, _HEAD))
    if header is not None:
        # what the codestream knows better; the header is held against it later
        allocated = 8 if header.precision <= 8 else 16 if header.precision <= 16 else 32
        options |= dict(
            bits_allocated=allocated,
            bits_stored=header.precision,
            pixel_representation=int(header.is_signed),
            # a codestream has an order of its own, and decoders give pixel after pixel
            planar_configuration=0,
        )
    if syntax == JPEGBaseline8Bit and form.samples == 1 and 'pillow' in decoder.available_plugins:
        # libjpeg-turbo: several times faster than the other plugins, and ends no process
        pixels, _ = _decoded(content, str(syntax), ('pillow',), options)
        return Pixels(pixels, form, header)
    most = form.rows * form.columns * form.samples * max(options['bits_allocated'] // 8, 1)
    pixels, _ = run_guarded(
        _decoded,
        content,
        str(syntax),
        decoder.available_plugins,
        options,
        most_bytes=2 * most if form.photometric.startswith('YBR') else most,
        seconds=_DECODINGS * (_SECONDS + _SECONDS_A_PIXEL * form.rows * form.columns),
    )
    return Pixels(pixels, form, header)


_PLANAR = BaseTag(0x00280006)

_NUMBER_OF_FRAMES = BaseTag(0x00280008)


def _decoded(
    content: bytes, syntax: str, plugins: tuple[str, ...], options: dict[str, Any]
) -> tuple[np.ndarray, None]:
    """Stored values of compressed pixels, by the first plugin that can; this is where codecs run."""
    decoder, options = get_decoder(UID(syntax)), dict(options)
    is_rle = UID(syntax) == RLELossless
    if is_rle:
        options['correct_unused_bits'] = False
    faults = []
    for plugin in plugins:
        options['decoding_plugin'] = plugin
        try:
            # a warning is all that tells of run lengths that are left over; what others warn of is said
            with warnings.catch_warnings(record=True) if is_rle else nullcontext() as found:
                if is_rle:
                    warnings.simplefilter('always')
                pixels = decoder.as_array(content, index=0, **options)[0]
        except Exception as error:  # plugins raise whatever their libraries raise
            faults.append(str(error).rsplit('available plugins:')[-1].strip())
            continue
        if any(map(_tells_of_rows, found or ())):
            raise ValueError('it has more pixels than its header says: Rows or Columns are wrong')
        header = codestream_header(codestream_of(content, _HEAD))
        if header is not None and _may_be_cut(pixels, header, plugin):
            longer = encapsulate([with_more_data(codestream_of(content))], has_bot=False)
            if not np.array_equal(pixels, decoder.as_array(longer, index=0, **options)[0]):
                raise ValueError('its last rows are missing')
        return pixels, None
    raise ValueError('; '.join(faults))


def _tells_of_rows(warning: warnings.WarningMessage) -> bool:
    """Whether pydicom warns of more run lengths than pixels, and not of a filling byte or two."""
    lengths = list(map(int, re.findall(r'\d+', str(warning.message))))
    return 'padding' in str(warning.message) and (
        len(lengths) != 2 or max(lengths) - min(lengths) > _RLE_FILLING
    )


# Bytes of a segment behind its last pixel.
_RLE_FILLING = 2

# Pixels at the end of the last row, of the block of a JPEG.
_BLOCK = 8


def _may_be_cut(pixels: np.ndarray, header: Codestream, plugin: str) -> bool:
    """Whether an image ends as one does that has its end mark before its last pixel.

    libjpeg fills such a one with the mean of its depth. pylibjpeg goes on with the last value, and
    makes up those of JPEG-LS, of which the other plugins take no file without its end.
    """
    end = pixels[-1, -_BLOCK:]
    if plugin == 'pylibjpeg' and header.kind in (JPEG, JPEG_LOSSLESS):
        return bool((end == end[-1]).all())
    if plugin == 'pylibjpeg':
        return header.kind == JPEG_LS
    mean = 2 ** (header.precision - 1)
    return header.kind in (JPEG, JPEG_LOSSLESS) and bool((abs(end[-1] - np.int64(mean)) <= 1).all())


def _grey_image(ds: FileDataset, read: Pixels, notes: list[str]) -> np.ndarray:
    pixels, form, header = read
    if pixels.dtype.kind == 'f':
        return _display_image(ds, pixels, notes)
    if not (pixels.dtype.isnative and pixels.flags.c_contiguous):
        pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder('='))
    patterns = pixels.view(f'u{pixels.itemsize}')
    patterns, bits, signed = grey_samples(ds, form, header, patterns, notes)
    if patterns.itemsize > 2:
        return _display_image(ds, _lower_bits(patterns, bits, signed), notes)
    return look_up(_display_table(ds, patterns, bits, signed, notes), patterns)


def _colour_image(ds: FileDataset, read: Pixels, notes: list[str]) -> np.ndarray:
    pixels, form, header = read
    if form.is_signed or form.high_bit != form.bits - 1:
        raise HeaderError('its header says that colours have a sign, or lie in the upper bits')
    if form.samples == 1:
        # of all entries: which of them a film uses does not change the others
        every = np.arange(2 ** (8 * pixels.itemsize), dtype=pixels.dtype)
        pixels = pydicom.pixels.apply_color_lut(pixels, ds)
        highest = int(pydicom.pixels.apply_color_lut(every, ds).max())
        bits = bits_of_entries(highest, 8 * pixels.itemsize)
    else:
        bits = form.bits if header is None else header.precision
        needed = int(pixels.max()).bit_length()
        if needed > bits:
            notes.append(f'its header says BitsStored {bits}, its values need {needed} bits')
            bits = needed
    rgb = np.divide(pixels[..., :3], np.float32(2**bits - 1), dtype=np.float32)
    grey = np.clip(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 0, 1)
    if grey.min() == grey.max():
        notes.append(FLAT)
    return grey


def _syntax_name(ds: FileDataset) -> str:
    uid = UID(str(ds.file_meta.TransferSyntaxUID)[:64])
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
    return (
        start + f'truncated or damaged pixel data ({one_line(error)}); copy it anew from its source'
    )
