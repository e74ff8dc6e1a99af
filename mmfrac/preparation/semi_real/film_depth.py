# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The grey scale of a film: written as 16-bit PNG so that it is read back as it was."""

from __future__ import annotations

import numpy as np

# What `read_raster` takes for the depth of a 16-bit file: the bits of its maximum, at least these.
_SMALLEST_DEPTH = 10
_DEPTHS = (8, *range(_SMALLEST_DEPTH, 16))


def native_bits(plane: np.ndarray) -> int:
    """Depth of the file that a film was read from.

    Args:
        plane (np.ndarray): Film (h, w) float32 in [0, 1].

    Returns:
        int: The smallest of 8 and 10 to 15 bits on whose scale all values lie, else 16.
    """
    for bits in _DEPTHS:
        values = plane * np.float32(2**bits - 1)
        if np.abs(values - np.rint(values)).max() < 0.02:
            return bits
    return 16


def at_native_depth(plane: np.ndarray, original: np.ndarray) -> np.ndarray:
    """A changed film on the grey scale of the original.

    Without this the finer values would give the changed pixels away.

    Args:
        plane (np.ndarray): Changed film (h, w) float32 in [0, 1].
        original (np.ndarray): The film before.

    Returns:
        np.ndarray: (h, w) float32; values that have not changed stay bit for bit.
    """
    full = np.float32(2 ** native_bits(original) - 1)
    rounded = (np.rint(plane * full) / full).astype(np.float32)
    return np.where(plane == original, original, rounded)


def png_values(plane: np.ndarray) -> np.ndarray:
    """Values of a 16-bit PNG that `read_radiograph` reads as this film.

    8-bit films are spread over 16 bits, others keep their depth. The reader takes the smallest
    depth from 10 bits that holds the film's maximum; a film without any value in the upper half of
    its scale is therefore written with 10 bits (an error of at most 1 / 2046).

    Args:
        plane (np.ndarray): Film (h, w) float32 in [0, 1].

    Returns:
        np.ndarray: (h, w) uint16.
    """
    bits = native_bits(plane)
    bits = 16 if bits == 8 else bits
    values = np.rint(plane.astype(np.float64) * (2**bits - 1)).astype(np.uint16)
    if max(_SMALLEST_DEPTH, int(values.max()).bit_length()) != bits:
        values = np.rint(plane.astype(np.float64) * (2**_SMALLEST_DEPTH - 1)).astype(np.uint16)
    return values
