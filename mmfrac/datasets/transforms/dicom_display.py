# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""DICOM grey scale: stored value -> modality -> VOI -> [0, 1] (PS3.3 C.11.1, C.11.2)."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi

# Share of the film's values left out at each end when it brings no VOI.
TAIL = 0.001
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
        np.ndarray: Table (256,) or (65536,), float32 in [0, 1], indexed by the bits.
    """
    allocated = 8 * patterns.dtype.itemsize
    bits = min(int(ds.get('BitsStored') or allocated), allocated)
    signed = ds.get('PixelRepresentation', 0) == 1
    if not signed and bits < allocated and ds.file_meta.TransferSyntaxUID.is_encapsulated:
        # A codec has no overlay bits: a value beyond BitsStored means that the header is wrong.
        bits = max(bits, int(patterns.max()).bit_length())
    stored = np.arange(2**bits, dtype=np.int32)
    if signed:
        stored[stored >= 2 ** (bits - 1)] -= 2**bits
    shown = _display(ds, stored, _thinned(patterns) & patterns.dtype.type(2**bits - 1))
    return np.tile(shown.astype(np.float32), 2 ** (allocated - bits))


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
    sample = _thinned(np.arange(pixels.size).reshape(pixels.shape))
    return _display(ds, pixels.ravel(), sample).reshape(pixels.shape).astype(np.float32)


def _thinned(plane: np.ndarray) -> np.ndarray:
    step = max(1, int(np.ceil(np.sqrt(plane.size / _SAMPLE))))
    return plane[::step, ::step].ravel()


def _display(ds: Dataset, stored: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Stored values (n,) to [0, 1]; ``sample`` (k,): where in ``stored`` pixels of the film lie."""
    values = apply_modality_lut(stored, ds)
    padding = _padding(ds, stored)
    if padding is not None:
        sample = sample[~padding[sample]]
    shown = _voi(ds, values)
    if shown is None or _is_flat(shown, sample):
        shown = _stretch(values, values[sample])
    if ds.get('PhotometricInterpretation') == 'MONOCHROME1':
        shown = 1 - shown
    if padding is not None:
        shown[padding] = 0
    return shown


def _is_flat(shown: np.ndarray, sample: np.ndarray) -> bool:
    few = shown[sample[::16]]
    return not (few.size and np.ptp(few)) and not (sample.size and np.ptp(shown[sample]))


def _padding(ds: Dataset, stored: np.ndarray) -> np.ndarray | None:
    first = ds.get('PixelPaddingValue')
    if not isinstance(first, int):
        return None
    last = ds.get('PixelPaddingRangeLimit')
    low, high = sorted((first, last if isinstance(last, int) else first))
    return (stored >= low) & (stored <= high)


def _first(value: object) -> float | None:
    if value is None or value == '':
        return None
    if not isinstance(value, (int, float, str)):
        value = next(iter(value), None)  # type: ignore[call-overload]
    return None if value is None else float(value)


def _voi(ds: Dataset, values: np.ndarray) -> np.ndarray | None:
    """First VOI LUT, else first window, scaled to [0, 1]; None without either (PS3.3 C.11.2.1)."""
    if ds.get('VOILUTSequence'):
        return _voi_lut(ds, values)
    center, width = _first(ds.get('WindowCenter')), _first(ds.get('WindowWidth'))
    function = str(ds.get('VOILUTFunction') or 'LINEAR').upper()
    if center is None or width is None or width <= 0:
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


def _stretch(values: np.ndarray, film: np.ndarray) -> np.ndarray:
    """Linear between the lower and upper tail of the film's values (k,); a flat film is 0."""
    if not film.size:
        return np.zeros(values.shape)
    skip = int(TAIL * film.size)
    ordered = np.partition(film, (skip, film.size - 1 - skip))
    low, high = float(ordered[skip]), float(ordered[film.size - 1 - skip])
    if low == high:
        low, high = float(film.min()), float(film.max())
    if low == high:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)
