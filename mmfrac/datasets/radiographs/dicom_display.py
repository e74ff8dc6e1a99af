# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""DICOM films for display: a table of all values, or the plane itself."""

import math

import numpy as np
from pydicom.dataset import Dataset

from mmfrac.datasets.radiographs.dicom_grey_scale import (
    grey_scale,
    grey_scale_of_bits,
    is_flat,
    table_of,
)
from mmfrac.datasets.radiographs.dicom_header import BITS_STORED, PIXEL_REPRESENTATION, short

# Values looked at to find the range: enough for the tails, cheap beside decoding.
_SAMPLE = 2**14


def display_table(ds: Dataset, patterns: np.ndarray) -> np.ndarray:
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
        if not is_flat(grey.voi, grey.on_film(line)):
            return grey.table
    sample = grey.on_film(patterns[::step, ::step].ravel() & used)
    return table_of(grey.shown(sample), allocated)


def display_plane(ds: Dataset, pixels: np.ndarray) -> np.ndarray:
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
    return grey.shown(grey.on_film(sample)).reshape(pixels.shape).astype(np.float32)


def _step(plane: np.ndarray) -> int:
    """Every how many-th row and column make up the sample of a film."""
    return max(1, math.ceil(math.sqrt(plane.size / _SAMPLE)))
