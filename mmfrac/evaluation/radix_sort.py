# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Radix sort of the events of a component tree."""

import numpy as np
from numba import njit

_DIGIT_BITS = 11


def sort_descending(keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort rows by an unsigned key, largest key first, a digit of the keys at a time.

    Linear in the number of rows, and several times as fast as NumPy's argsort. Positive floats order
    like their bit patterns.

    Args:
        keys (np.ndarray): (n,) uint32 or uint64.
        rows (np.ndarray): (n, 4) int32.

    Returns:
        tuple[np.ndarray, np.ndarray]: Keys and rows in descending order; equal keys keep theirs.
    """
    # Allocated here for NumPy's huge pages, see component_tree.
    keys, new_keys = np.stack([keys, keys])
    order, new_order = np.empty((2, keys.size), np.int32)
    sorted_rows = np.empty_like(rows)
    return _radix_sort(keys, new_keys, order, new_order, rows, sorted_rows), sorted_rows


@njit(cache=True)
def _radix_sort(keys, new_keys, order, new_order, rows, sorted_rows):
    num = keys.size
    num_digits = 1 << _DIGIT_BITS
    for i in range(num):
        order[i] = i
    for shift in range(0, 8 * keys.itemsize, _DIGIT_BITS):
        ends = np.zeros(num_digits, np.int64)
        for key in keys:
            ends[np.uint64(key) >> np.uint64(shift) & np.uint64(num_digits - 1)] += 1
        if ends.max() == num:
            continue
        for d in range(num_digits - 2, -1, -1):
            ends[d] += ends[d + 1]
        for i in range(num - 1, -1, -1):
            digit = np.uint64(keys[i]) >> np.uint64(shift) & np.uint64(num_digits - 1)
            ends[digit] -= 1
            new_keys[ends[digit]] = keys[i]
            new_order[ends[digit]] = order[i]
        keys, new_keys = new_keys, keys
        order, new_order = new_order, order
    for i in range(num):
        for k in range(4):
            sorted_rows[i, k] = rows[order[i], k]
    return keys
