"""Compiled rasterising of a sum of exponentials, row by row."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["fill_rows"]


@numba.njit(inline="always")
def _sum_at(row, column):  # type: ignore[no-untyped-def]
    """Sum of the products of two rows of factors."""
    total = 0.0
    for i in range(row.size):
        total += row[i] * column[i]
    return total


@numba.njit(
    numba.void(numba.float64[:, ::1], numba.float64[:, ::1], numba.boolean[:, :]),
    cache=True,
    nogil=True,
)
def fill_rows(rows, columns, out):  # type: ignore[no-untyped-def]
    """Set ``out[r, c]`` where ``sum_i rows[r, i] columns[c, i] <= 1``.

    Along a row the sum is convex: its voxels inside are one run, whose ends are
    found by bisection to either side of the least sum.

    Parameters
    ----------
    rows, columns : ndarray of float64, shapes (R, P), (C, P)
        Positive factors; each is the exponential of a linear function of the index.
    out : ndarray of bool, shape (R, C)
        All false; changed in place.
    """
    last = columns.shape[0] - 1
    for r in range(rows.shape[0]):
        row = rows[r]
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            if _sum_at(row, columns[middle]) <= _sum_at(row, columns[middle + 1]):
                high = middle
            else:
                low = middle + 1
        least = low
        # Written so that a sum that overflowed counts as outside.
        if not _sum_at(row, columns[least]) <= 1:
            continue
        low, high = 0, least
        while low < high:
            middle = (low + high) // 2
            if _sum_at(row, columns[middle]) <= 1:
                high = middle
            else:
                low = middle + 1
        first = low
        low, high = least, last
        while low < high:
            middle = (low + high + 1) // 2
            if _sum_at(row, columns[middle]) <= 1:
                low = middle
            else:
                high = middle - 1
        out[r, first : low + 1] = np.True_
