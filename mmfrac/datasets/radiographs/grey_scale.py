# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From stored DICOM values to [0, 1]: rescale, VOI LUT or window, MONOCHROME1."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.tag import BaseTag

from mmfrac.datasets.radiographs.dicom_header import (
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    WINDOW_CENTER,
    WINDOW_WIDTH,
    first_decimal,
)

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
    )
)

# Grey scales of the last headers: the films of one machine often share theirs. At most 10 MB.
_KEPT: dict[tuple, 'GreyScale'] = {}

_MOST_KEPT = 8


@dataclass(frozen=True)
class GreyScale:
    """What a header says of the display of stored values (n,).

    Attributes:
        values (np.ndarray): After the modality LUT or rescale, (n,).
        voi (np.ndarray or None): In [0, 1] after the VOI LUT or window; None without either.
        inverted (bool): MONOCHROME1.
        padding (np.ndarray or None): Which stored values are padding, (n,) bool.
        table (np.ndarray or None): Display values by VOI; for 8- and 16-bit films only.
    """

    values: np.ndarray
    voi: np.ndarray | None
    inverted: bool
    padding: np.ndarray | None
    table: np.ndarray | None = None

    def without_padding(self, sample: np.ndarray) -> np.ndarray:
        """Those of stored values (k,) that are no padding."""
        return sample if self.padding is None else sample[~self.padding[sample]]

    def shown(self, sample: np.ndarray) -> np.ndarray:
        """Display values (n,); ``sample`` (k,): stored values of the film, without padding."""
        if self.voi is None or is_flat(self.voi, sample):
            return self.finished(_stretch(self.values, self.values[sample]))
        return self.finished(self.voi)

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
    if header is None or grey.voi is None:
        return grey
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
    values = _modality(ds, stored)
    return GreyScale(
        values,
        _voi(ds, values),
        ds.get('PhotometricInterpretation') == 'MONOCHROME1',
        _padding(ds, stored),
    )


def table_of(shown: np.ndarray, allocated: int) -> np.ndarray:
    """Table (2**allocated,) of values (2**bits,): the bits above are ignored."""
    table = np.empty(2**allocated, np.float32)
    table.reshape(-1, shown.size)[:] = shown
    return table


def is_flat(shown: np.ndarray, sample: np.ndarray) -> bool:
    found = shown[sample]
    return not found.size or bool(found.min() == found.max())


def _modality(ds: Dataset, stored: np.ndarray) -> np.ndarray:
    """Values after the modality LUT or rescale (PS3.3 C.11.1)."""
    if ds.get('ModalityLUTSequence'):
        return apply_modality_lut(stored, ds)
    slope, intercept = first_decimal(ds, RESCALE_SLOPE), first_decimal(ds, RESCALE_INTERCEPT)
    if slope is None or intercept is None:
        return stored
    with np.errstate(all='ignore'):
        values = stored * np.float64(slope) + intercept
    if slope == 0 or not np.isfinite(values).all():
        raise ValueError(f'RescaleSlope is {slope:g}, RescaleIntercept {intercept:g}')
    return values


def _padding(ds: Dataset, stored: np.ndarray) -> np.ndarray | None:
    first = ds.get('PixelPaddingValue')
    if not isinstance(first, int):
        return None
    last = ds.get('PixelPaddingRangeLimit')
    low, high = sorted((first, last if isinstance(last, int) else first))
    return (stored >= low) & (stored <= high)


def _voi(ds: Dataset, values: np.ndarray) -> np.ndarray | None:
    """First VOI LUT, else first window, scaled to [0, 1]; None without either (PS3.3 C.11.2.1)."""
    if ds.get('VOILUTSequence'):
        return _voi_lut(ds, values)
    center, width = first_decimal(ds, WINDOW_CENTER), first_decimal(ds, WINDOW_WIDTH)
    function = str(ds.get('VOILUTFunction') or 'LINEAR').upper()
    if center is None or width is None or not (np.isfinite((center, width)).all() and width > 0):
        return None
    if function == 'SIGMOID':
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)
        return 1 / (1 + np.exp(exponent))
    if function == 'LINEAR_EXACT':
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width < 1:
        return None
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _voi_lut(ds: Dataset, values: np.ndarray) -> np.ndarray:
    shown = apply_voi(np.rint(values).astype(np.int64), ds).astype(np.float64)
    descriptor, data = ds.VOILUTSequence[0].LUTDescriptor, ds.VOILUTSequence[0].LUTData
    # Entries that use fewer bits than the descriptor declares are common: 12 bits called 16.
    highest = int(np.frombuffer(data, '<u2').max() if isinstance(data, bytes) else np.max(data))
    bits = min(int(descriptor[2]), max(8, highest.bit_length()))
    return np.clip(shown / (2**bits - 1), 0, 1)


def _stretch(values: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Linear between the lower and upper tail of the film's values (k,); a flat film is 0."""
    if not sample.size:
        return np.zeros(values.shape)
    skip = int(_TAIL * sample.size)
    ordered = np.partition(sample, (skip, sample.size - 1 - skip))
    low, high = float(ordered[skip]), float(ordered[sample.size - 1 - skip])
    if low == high:
        low, high = float(sample.min()), float(sample.max())
    if low == high:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)


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
