"""Compiled sums over blocks; apart, because importing numba takes its time."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["add_finite"]


@numba.njit(inline="always")
def _sum_row(row):  # type: ignore[no-untyped-def]
    """Count and sum the finite numbers of a row."""
    value = 0.0
    for x in range(row.size):
        value += row[x]
    if np.isfinite(value):
        return np.int64(row.size), value
    added, value = np.int64(0), 0.0
    for x in range(row.size):
        if np.isfinite(row[x]):
            value += row[x]
            added += 1
    return added, value


_SIGNATURES = [
    numba.void(
        numba.types.Array(kind, 4, "A", readonly=True),
        numba.types.UniTuple(numba.int64, 3),
        numba.float64[:, :, :, ::1],
        numba.int64[:, :, ::1],
    )
    for kind in (numba.float32, numba.float64)
]


# Compiled for any strides, once and at import: not when the first such image is opened.
@numba.njit(_SIGNATURES, cache=True, nogil=True)
def add_finite(data, steps, total, count):  # type: ignore[no-untyped-def]
    """Add the voxels of (C, Z, Y, X) that are finite in every channel to sums of their blocks.

    Parameters
    ----------
    data : ndarray of float, shape (C, Z, Y, X)
    steps : tuple of three int
        Voxels per block and axis.
    total : ndarray of float64, shape (C, *N)
        Changed in place.
    count : ndarray of int64, shape N
        Number of voxels added, changed in place.
    """
    channels, depth, height, width = data.shape
    if channels > 1:
        finite = np.empty(width, np.bool_)
    for z in range(depth):
        for y in range(height):
            a, b = z // steps[0], y // steps[1]
            if channels > 1:
                for x in range(width):
                    finite[x] = np.isfinite(data[0, z, y, x])
                for k in range(1, channels):
                    for x in range(width):
                        finite[x] &= np.isfinite(data[k, z, y, x])
            for c in range(total.shape[3]):
                first, last = c * steps[2], min((c + 1) * steps[2], width)
                if channels == 1:
                    added, value = _sum_row(data[0, z, y, first:last])
                    total[0, a, b, c] += value
                else:
                    added = np.int64(0)
                    for x in range(first, last):
                        added += finite[x]
                    for k in range(channels):
                        value = 0.0
                        for x in range(first, last):
                            if finite[x]:
                                value += data[k, z, y, x]
                        total[k, a, b, c] += value
                count[a, b, c] += added
