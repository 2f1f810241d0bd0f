"""Labels of any integer type as int32 from 1 on, in the order in which they first appear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["dense_labels"]

_VOXELS_AT_ONCE = 1 << 20
_FIRST_SLOTS = 1 << 10
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def dense_labels(labels: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], int]:
    """Return labels as numbers from 1 on.

    Part by part through one integer type, so that one compiled kernel serves all types.

    Parameters
    ----------
    labels : ndarray of int, any shape
        Not negative; 0 stays 0.

    Returns
    -------
    numbers : ndarray of int32, shape (N,)
        In C order.
    count : int
        The largest number.
    """
    numbers = np.empty(labels.size, np.int32)
    keys, slots = np.zeros(_FIRST_SLOTS, np.uint64), np.zeros(_FIRST_SLOTS, np.int32)
    count, begin = 0, 0
    rows = max(1, _VOXELS_AT_ONCE * len(labels) // labels.size)
    for row in range(0, len(labels), rows):
        part = labels[row : row + rows].astype(np.uint64).reshape(-1)
        out = numbers[begin : begin + part.size]
        begin += part.size
        done, count = _number(part, out, 0, keys, slots, count)
        while done < part.size:
            keys, slots = _grown(keys, slots)
            done, count = _number(part, out, done, keys, slots, count)
    return numbers, count


@numba.njit(inline="always")
def _slot(key, keys, slots):  # type: ignore[no-untyped-def]
    """Where a key is in the table, or belongs."""
    mask = np.uint64(keys.size - 1)
    at = ((key * _GOLDEN) >> np.uint64(32)) & mask
    while slots[at] != 0 and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True, nogil=True)
def _number(values, out, begin, keys, slots, count):  # type: ignore[no-untyped-def]
    """Write the numbers of values from `begin` on; stop where the table of ids is half full."""
    last, number = np.uint64(0), np.int32(0)
    for i in range(begin, values.size):
        value = values[i]
        if value != last:
            last, number = value, np.int32(0)
            if value != 0:
                at = _slot(value, keys, slots)
                if slots[at] == 0:
                    if 2 * count >= keys.size:
                        return i, count
                    count += 1
                    keys[at] = value
                    slots[at] = count
                number = slots[at]
        out[i] = number
    return values.size, count


@numba.njit(cache=True, nogil=True)
def _grown(keys, slots):  # type: ignore[no-untyped-def]
    """Return a table of four times the size with the same ids."""
    more_keys, more_slots = np.zeros(4 * keys.size, np.uint64), np.zeros(4 * keys.size, np.int32)
    for i in range(keys.size):
        if slots[i] != 0:
            at = _slot(keys[i], more_keys, more_slots)
            more_keys[at] = keys[i]
            more_slots[at] = slots[i]
    return more_keys, more_slots
