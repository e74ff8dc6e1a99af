# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From stored DICOM values to [0, 1]: rescale, VOI LUT or window, MONOCHROME1.

What holds where a header is incomplete or contradicts itself, with a note each:

- RescaleIntercept without RescaleSlope: the slope is 1; without RescaleIntercept it is 0.
- A VOI LUT without data, a window without positive width or whose numbers are not finite, and one that
  shows the film as one flat tone, count as absent.
- A VOILUTFunction that is none counts as LINEAR.
- A VOI LUT or window that shows nearly all pixels black or white is used.
- PresentationLUTShape counts for nothing: PhotometricInterpretation says whether to invert.
- PixelPaddingValue is read with the sign of the pixels, whichever it was written with. Of float pixels
  FloatPixelPaddingValue counts, of double ones DoubleFloatPixelPaddingValue, and else the other two.
- Pixels that all have one value come out 0.

A number that is none (a window `20,5`), a slope of 0, a modality LUT without data and a LUT with fewer
entries than it says are errors. The first value of a LUT is read with the sign of the values, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from mmfrac.datasets.radiographs.dicom_header import (
    MODALITY_LUT_SEQUENCE,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_PADDING_RANGE_LIMIT,
    PIXEL_PADDING_VALUE,
    PRESENTATION_LUT_SHAPE,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    VOI_LUT_SEQUENCE,
    WINDOW_CENTER,
    WINDOW_WIDTH,
    code,
    first_decimal,
    short,
)

# Share of pixels at the two ends of a window from which on it is doubtful, and how near an end is.
_SATURATED, _AT_END = 0.9, 1 / 256

# Share of the film's values left out at each end when it brings no VOI.
_TAIL = 0.001

# All that a grey scale depends on, besides the bits.
_GREY_TAGS = tuple(
    BaseTag(tag)
    for tag in (
        0x00280004,  # PhotometricInterpretation
        0x00280120,  # PixelPaddingValue
        0x00280121,  # PixelPaddingRangeLimit
        0x00281050,  # WindowCenter
        0x00281051,  # WindowWidth
        0x00281052,  # RescaleIntercept
        0x00281053,  # RescaleSlope
        0x00281056,  # VOILUTFunction
        0x00283000,  # ModalityLUTSequence
        0x00283010,  # VOILUTSequence
        0x20500020,  # PresentationLUTShape
    )
)

# Padding of float and of double pixels: its first value and its last one.
_FLOAT_PADDING = BaseTag(0x00280122), BaseTag(0x00280124)
_DOUBLE_PADDING = BaseTag(0x00280123), BaseTag(0x00280125)

# Grey scales of the last headers: the films of one machine often share theirs. At most 10 MB.
_KEPT: dict[tuple, 'GreyScale'] = {}

_MOST_KEPT = 8

FLAT = 'all its pixels have one value'


class Ends(NamedTuple):
    """Of the sorted values of an image.

    Attributes:
        least, most (np.number): The first and the last.
        low, high (np.number): Those within which all but the tails lie.
    """

    least: np.number
    low: np.number
    high: np.number
    most: np.number


@dataclass(frozen=True)
class GreyScale:
    """What a header says of the display of stored values (n,).

    Attributes:
        values (np.ndarray): After the modality LUT or rescale, (n,).
        voi (np.ndarray or None): In [0, 1] after the VOI LUT or window; None without either.
        inverted (bool): MONOCHROME1.
        padding (np.ndarray or None): Which stored values are padding, (n,) bool.
        notes (tuple[str, ...]): What is doubtful of the header.
        table (np.ndarray or None): Display values by VOI; for 8- and 16-bit films only.
        is_ordered (bool): Whether ``values`` rise or fall with the stored ones. Defaults to True.
    """

    values: np.ndarray
    voi: np.ndarray | None
    inverted: bool
    padding: np.ndarray | None
    notes: tuple[str, ...] = ()
    table: np.ndarray | None = None
    is_ordered: bool = True

    def without_padding(self, sample: np.ndarray) -> np.ndarray:
        """Those of stored values (k,) that are no padding."""
        return sample if self.padding is None else sample[~self.padding[sample]]

    def shown(self, counts: np.ndarray, notes: list[str]) -> np.ndarray:
        """Display values (n,); ``counts`` (n,): pixels of each value, of padding, too."""
        if self.padding is not None:
            counts = np.where(self.padding, 0, counts)
        used = np.flatnonzero(counts)
        if self.voi is not None:
            if not is_flat(self.voi, used):
                share = counts[_is_at_end(self.voi)].sum() / counts.sum()
                if share >= _SATURATED:
                    notes.append(
                        f'its window or VOI LUT shows {share:.1%} of its pixels black or white'
                    )
                return self.finished(self.voi)
            notes.append('its window or VOI LUT shows it as one flat tone and is not used')
        if not used.size:
            notes.append(FLAT)
            return np.zeros(self.values.shape)
        return self.stretched(_ends_of_counts(self.values[used], counts[used]), notes)

    def stretched(self, ends: Ends, notes: list[str]) -> np.ndarray:
        """Display values (n,), linear between the tails of the film's; ``ends``: of its values."""
        low, high = sorted(map(float, (ends.low, ends.high)))
        if low == high:
            low, high = sorted(map(float, (ends.least, ends.most)))
        if low == high:
            notes.append(FLAT)
            return np.zeros(self.values.shape)
        return self.finished(np.clip((self.values - low) / (high - low), 0, 1))

    def finished(self, shown: np.ndarray) -> np.ndarray:
        """Values (n,) in [0, 1], inverted if need be, padding 0."""
        shown = 1 - shown if self.inverted else shown
        return shown if self.padding is None else np.where(self.padding, 0, shown)


def grey_scale_of_bits(ds: Dataset, bits: int, signed: bool, allocated: int) -> GreyScale:
    header = _grey_header(ds)
    key = (header, bits, signed, allocated)
    kept = _KEPT.get(key) if header is not None else None
    if kept is not None:
        return kept
    stored = np.arange(2**bits, dtype=np.int32)
    if signed:
        stored[stored >= 2 ** (bits - 1)] -= 2**bits
    grey = grey_scale(ds, stored)
    if header is None:
        return grey
    if grey.voi is not None:
        grey = replace(grey, table=table_of(grey.finished(grey.voi), allocated))
    if len(_KEPT) >= _MOST_KEPT:
        _KEPT.clear()
    _KEPT[key] = grey
    return grey


def _grey_header(ds: Dataset) -> tuple | None:
    """The elements that make a grey scale, as they lie in the file; None if they were parsed."""
    found = []
    for tag in _GREY_TAGS:
        element = ds.get_item(tag)
        if isinstance(element, RawDataElement):
            found.append((element.VR, element.is_little_endian, element.value))
        elif element is None or isinstance(element.value, str):
            found.append(element and element.value)
        else:
            return None
    return tuple(found)


def grey_scale(ds: Dataset, stored: np.ndarray) -> GreyScale:
    notes: list[str] = []
    values = _modality(ds, stored, notes)
    photometric = code(ds, PHOTOMETRIC_INTERPRETATION)
    shape = code(ds, PRESENTATION_LUT_SHAPE)
    if (photometric, shape) in (('MONOCHROME2', 'INVERSE'), ('MONOCHROME1', 'IDENTITY')):
        notes.append(f'its header says {photometric} and PresentationLUTShape {shape}')
    return GreyScale(
        values,
        _voi(ds, values, notes),
        photometric == 'MONOCHROME1',
        _padding(ds, stored),
        tuple(notes),
        is_ordered=MODALITY_LUT_SEQUENCE not in ds,
    )


def table_of(shown: np.ndarray, allocated: int) -> np.ndarray:
    """Table (2**allocated,) of values (2**bits,): the bits above are ignored."""
    table = np.empty(2**allocated, np.float32)
    table.reshape(-1, shown.size)[:] = shown
    return table


def is_flat(shown: np.ndarray, sample: np.ndarray) -> bool:
    found = shown[sample]
    return not found.size or bool(found.min() == found.max())


def is_saturated(shown: np.ndarray, sample: np.ndarray) -> bool:
    """Whether a sample is so much at the ends that all of an image may be."""
    return bool(_is_at_end(shown[sample]).mean() > _SATURATED / 2)


def _is_at_end(shown: np.ndarray) -> np.ndarray:
    return (shown <= _AT_END) | (shown >= 1 - _AT_END)


def _modality(ds: Dataset, stored: np.ndarray, notes: list[str]) -> np.ndarray:
    """Values after the modality LUT or rescale (PS3.3 C.11.1)."""
    if MODALITY_LUT_SEQUENCE in ds and ds.ModalityLUTSequence:
        item = ds.ModalityLUTSequence[0]
        if not _has_data(item):
            raise ValueError('its modality LUT has no data')
        return _mapped(item, stored, ds, 'modality LUT', notes)[0]
    slope, intercept = first_decimal(ds, RESCALE_SLOPE), first_decimal(ds, RESCALE_INTERCEPT)
    if slope is None and intercept is None:
        return stored
    if slope is None or intercept is None:
        there, absent = ('RescaleIntercept', 'RescaleSlope')[:: 1 if slope is None else -1]
        notes.append(f'its header has {there} without {absent}')
        slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    with np.errstate(all='ignore'):
        values = stored * np.float64(slope) + intercept
    if slope == 0 or not np.isfinite(values).all():
        raise ValueError(f'RescaleSlope is {slope:g}, RescaleIntercept {intercept:g}')
    return values


def _padding(ds: Dataset, stored: np.ndarray) -> np.ndarray | None:
    first, last = _padding_range(ds, stored)
    if first is None:
        return None
    low, high = sorted(
        _with_sign(value, stored) for value in (first, first if last is None else last)
    )
    return (stored >= low) & (stored <= high)


def _padding_range(ds: Dataset, stored: np.ndarray) -> tuple[float | None, float | None]:
    """First and last value of padding; None where the header has none."""
    if stored.dtype.kind == 'f':
        kinds = (_FLOAT_PADDING, _DOUBLE_PADDING)[:: 1 if stored.itemsize == 4 else -1]
        for first, last in kinds:
            if (found := _one_number(ds, first)) is not None:
                return found, _one_number(ds, last)
    first, last = PIXEL_PADDING_VALUE, PIXEL_PADDING_RANGE_LIMIT
    if stored.dtype.kind == 'f' or stored.itemsize > 2:
        return _one_number(ds, first), _one_number(ds, last)
    low, high = short(ds, first), short(ds, last)
    return low if isinstance(low, int) else None, high if isinstance(high, int) else None


def _one_number(ds: Dataset, tag: BaseTag) -> float | None:
    """Value of a number of any length; two 16-bit ones are the halves of one of 32 bits."""
    element = ds.get_item(tag)
    if element is None:
        return None
    is_short = tag in (PIXEL_PADDING_VALUE, PIXEL_PADDING_RANGE_LIMIT)
    is_short = is_short and element.VR in ('US', 'SS', None)
    if is_short and isinstance(element, RawDataElement) and len(element.value or b'') == 4:
        return int.from_bytes(element.value or b'', 'little' if element.is_little_endian else 'big')
    value = ds[tag].value
    return value if isinstance(value, (int, float)) else None


def _with_sign(value: float, stored: np.ndarray) -> float:
    """A value with the sign of the stored ones, where it cannot be one of them otherwise."""
    if not stored.size or stored.dtype.kind == 'f':
        return value
    low, high = int(stored.min()), int(stored.max())
    for other in (value, value - 2**16, value + 2**16, value - 2**32, value + 2**32):
        if low <= other <= high:
            return other
    return value


def _voi(ds: Dataset, values: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """First VOI LUT, else first window, scaled to [0, 1]; None without either (PS3.3 C.11.2.1)."""
    items = ds.VOILUTSequence if VOI_LUT_SEQUENCE in ds else None
    for item in items or ():
        if _has_data(item):
            return _voi_lut(item, values, ds, notes)
        notes.append('its VOI LUT has no data and is not used')
    center, width = first_decimal(ds, WINDOW_CENTER), first_decimal(ds, WINDOW_WIDTH)
    if center is None and width is None:
        return None
    function = str(ds.get('VOILUTFunction') or 'LINEAR').strip().upper()
    if function not in _FUNCTIONS:
        # not quoted: it may be a text of a patient
        notes.append(f'its VOILUTFunction is none of {", ".join(_FUNCTIONS)} and counts as LINEAR')
    least = 1 if function not in ('SIGMOID', 'LINEAR_EXACT') else 0
    if (
        center is None
        or width is None
        or not np.isfinite((center, width)).all()
        or not width > 0
        or width < least
    ):
        notes.append(f'its window (center {center}, width {width}) is none and is not used')
        return None
    if function == 'SIGMOID':
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)
        return 1 / (1 + np.exp(exponent))
    if function == 'LINEAR_EXACT':
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


# What a window may be.
_FUNCTIONS = ('LINEAR', 'LINEAR_EXACT', 'SIGMOID')


def _has_data(item: Dataset) -> bool:
    """Whether an item of a LUT sequence holds a LUT."""
    return bool(item.get('LUTDescriptor')) and bool(item.get('LUTData'))


def _voi_lut(item: Dataset, values: np.ndarray, ds: Dataset, notes: list[str]) -> np.ndarray:
    shown, highest, bits = _mapped(item, np.rint(values), ds, 'VOI LUT', notes)
    return np.clip(shown / (2 ** bits_of_entries(highest, bits) - 1), 0, 1)


def _mapped(
    item: Dataset, values: np.ndarray, ds: Dataset, name: str, notes: list[str]
) -> tuple[np.ndarray, int, int]:
    """Values (n,) through a LUT: what they become, the highest entry, the bits of one by its header."""
    descriptor = item.LUTDescriptor
    if not isinstance(descriptor, Sequence) or len(descriptor) != 3:
        raise ValueError(f'the LUTDescriptor of its {name} is not three numbers')
    count, first, bits = map(int, descriptor)
    count = count or 2**16
    if not 8 <= bits <= 16:
        raise ValueError(f'its {name} has entries of {bits} bits')
    entries, data = None, item.LUTData
    if isinstance(data, bytes):
        # entries of 8 bits may lie two in a word
        is_packed = bits == 8 and len(data) in (count, count + 1)
        order = '<' if ds.original_encoding[1] else '>'
        entries = np.frombuffer(data[: len(data) // 2 * 2], f'{order}u2')
        if is_packed:
            entries = entries.astype('<u2').view('u1')
    else:
        entries = np.atleast_1d(np.array(data, np.int64))
    if len(entries) < count:
        raise ValueError(f'its {name} has {len(entries)} entries, its header says {count}')
    if len(entries) > count + 1:
        notes.append(f'its {name} has {len(entries)} entries, its header says {count}')
    entries = entries[:count].astype(np.float64)
    # read with the sign of the values, whichever it was written with
    if first >= 2**15 and values.size and values.min() < 0:
        first -= 2**16
    index = np.clip(values - first, 0, count - 1).astype(np.int64)
    return entries[index], int(entries.max()), bits


def bits_of_entries(highest: int, declared: int) -> int:
    """Bits of the entries of a LUT; fewer than it declares are common, 12 bits called 16.

    Args:
        highest (int): Of the entries.
        declared (int): Bits by its descriptor.
    """
    return min(declared, max(8, highest.bit_length()))


def _ends_of_counts(values: np.ndarray, counts: np.ndarray) -> Ends:
    """Ends of an image of which there are ``counts`` (k,) pixels of each of ``values`` (k,)."""
    if (values[1:] < values[:-1]).any():
        order = np.argsort(values, kind='stable')
        values, counts = values[order], counts[order]
    pixels = counts.cumsum()
    skip = int(_TAIL * pixels[-1])
    low, high = values[np.searchsorted(pixels, (skip, pixels[-1] - 1 - skip), side='right')]
    return Ends(values[0], low, high, values[-1])


# Values of a group, of which the smallest and the largest are found, and groups that are joined.
_GROUP, _JOINED = 32, 8

# Fewer values are sorted.
_FEW = 2**12


def find_ends(values: np.ndarray) -> Ends:
    """Ends of an image, of all its values, but without sorting them.

    Args:
        values (np.ndarray): (n,), without NaN; at least one.

    Returns:
        Ends: As of ``np.sort(values)``.
    """
    skip = int(_TAIL * values.size)
    if values.size < _FEW:
        values = np.sort(values)
        return Ends(values[0], values[skip], values[-1 - skip], values[-1])
    length = values.size // _GROUP
    groups, rest = values[: length * _GROUP].reshape(_GROUP, length), values[length * _GROUP :]
    least, most = np.minimum.reduce(groups), np.maximum.reduce(groups)
    return Ends(
        min(least.min(), *rest) if rest.size else least.min(),
        _tail_end(groups, rest, least, skip, np.minimum, np.less),
        _tail_end(groups, rest, most, skip, np.maximum, np.greater),
        max(most.max(), *rest) if rest.size else most.max(),
    )


def _tail_end(
    groups: np.ndarray,
    rest: np.ndarray,
    extremes: np.ndarray,
    skip: int,
    extreme: np.ufunc,
    beyond: np.ufunc,
) -> np.number:
    """The value that has ``skip`` others at its side or beyond it.

    Args:
        groups (np.ndarray): Values (g, m), a column each.
        rest (np.ndarray): Further values.
        extremes (np.ndarray): Of each group, (m,).
        skip (int): How many others.
        extreme (np.ufunc): ``np.minimum`` or ``np.maximum``.
        beyond (np.ufunc): ``np.less`` or ``np.greater``.
    """
    length = extremes.size // _JOINED
    joined = extreme.reduce(extremes[: length * _JOINED].reshape(_JOINED, length))
    # as many groups reach as far as the bound, so the value is the bound or lies beyond it
    bound = _ranked(joined, skip, beyond)
    near = np.flatnonzero(beyond(extremes, bound))
    if near.size > skip:
        reach = extremes[near]
        bound = _ranked(reach, skip, beyond)
        near = near[beyond(reach, bound)]
    found = np.concatenate((groups.take(near, axis=1).ravel(), rest))
    found = found[beyond(found, bound)]
    return _ranked(found, skip, beyond) if found.size > skip else bound


def _ranked(values: np.ndarray, skip: int, beyond: np.ufunc) -> np.number:
    at = skip if beyond is np.less else values.size - 1 - skip
    return np.partition(values, at)[at]


# OpenCV 4 has tables of 256 values only.
_LOOKS_UP_16_BIT = int(cv2.__version__.split('.')[0]) >= 5


def look_up(table: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Every value of an image through a table.

    Args:
        table (np.ndarray): (256,) for uint8, (65536,) for uint16; float32.
        patterns (np.ndarray): (h, w) uint8 or uint16.

    Returns:
        np.ndarray: (h, w) float32, C-contiguous.
    """
    if patterns.dtype == np.uint8 or _LOOKS_UP_16_BIT:
        return cv2.LUT(patterns, table)
    return table.take(patterns, mode='clip')
