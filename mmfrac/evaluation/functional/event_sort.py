# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Sorting of the events of a component tree."""

import numpy as np
from numba import njit


def sort_descending(
    values: np.ndarray,
    rows: np.ndarray,
    keys: np.ndarray,
    sorted_values: np.ndarray,
    sorted_rows: np.ndarray,
) -> None:
    """Sort rows by a positive value, largest first.

    Positive floats order like their bit patterns: with its row's number behind it, a float32 makes one
    64-bit integer, which NumPy sorts with vector instructions.

    Args:
        values (np.ndarray): (n,) float32 or float64, >= 0.
        rows (np.ndarray): (n, 4) int32.
        keys (np.ndarray): (n,) uint64, scratch.
        sorted_values (np.ndarray): (n,), filled in.
        sorted_rows (np.ndarray): (n, 4), filled in.
    """
    if values.dtype == np.float32:
        _join(values.view(np.uint32), keys)
        keys.sort()
    else:
        keys[:] = np.argsort(values)
    _take(values, rows, keys, sorted_values, sorted_rows)


@njit(cache=True, nogil=True)
def _join(patterns, keys):
    for i in range(patterns.size):
        keys[i] = np.uint64(patterns[i]) << np.uint64(32) | np.uint64(i)


@njit(cache=True, nogil=True)
def _take(values, rows, keys, sorted_values, sorted_rows):
    for i in range(keys.size):
        row = np.uint32(keys[keys.size - 1 - i])
        sorted_values[i] = values[row]
        for k in range(4):
            sorted_rows[i, k] = rows[row, k]
