"""Compiled means and modes over blocks of voxels; apart, because importing numba takes its time."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["add_blocks", "modes"]


@numba.njit(inline="always")
def _window(index, factor, size):  # type: ignore[no-untyped-def]
    """First and last voxel (exclusive) of a block; one that lies outside is the last voxel."""
    start = min(index * factor, size - 1)
    return start, min(start + factor, size)


@numba.njit(cache=True, nogil=True)
def modes(data, factors, out):  # type: ignore[no-untyped-def]
    """Most frequent label of every block; of several the smallest that is not 0.

    Parameters
    ----------
    data : (N, Z, Y, X) of unsigned integers, contiguous
    factors : three int
        Voxels per block along z, y and x.
    out : (N, Z', Y', X')
        Filled.
    """
    size = data.shape
    found = np.empty(factors[0] * factors[1] * factors[2], data.dtype)
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            z0, z1 = _window(k, factors[0], size[1])
            for j in range(out.shape[2]):
                y0, y1 = _window(j, factors[1], size[2])
                for i in range(out.shape[3]):
                    x0, x1 = _window(i, factors[2], size[3])
                    first = data[n, z0, y0, x0]
                    count, alike = 0, True
                    for z in range(z0, z1):
                        for y in range(y0, y1):
                            for x in range(x0, x1):
                                value = data[n, z, y, x]
                                alike = alike and value == first
                                found[count] = value
                                count += 1
                    out[n, k, j, i] = first if alike else _mode(found, count)


@numba.njit(inline="always")
def _mode(found, count):  # type: ignore[no-untyped-def]
    """Most frequent of a few numbers; of several the smallest that is not 0."""
    best, most = found[0], 0
    for a in range(count):
        value, times = found[a], 0
        for b in range(count):
            times += found[b] == value
        # A thin object wins over the background that it shares a block with.
        better = value != 0 and (best == 0 or value < best)
        if times > most or (times == most and better):
            best, most = value, times
    return best


@numba.njit(cache=True, nogil=True)
def add_blocks(data, factors, total, count):  # type: ignore[no-untyped-def]
    """Sum the voxels of every block that are numbers, and count them.

    Parameters
    ----------
    data : (N, Z, Y, X), contiguous
    factors : three int
        Voxels per block along z, y and x.
    total : (N, Z', Y', X') of int64 or float64
        Zeros, added to.
    count : (N, Z', Y', X') of int64
        Filled.
    """
    size = data.shape
    for n in range(total.shape[0]):
        for k in range(total.shape[1]):
            z0, z1 = _window(k, factors[0], size[1])
            for j in range(total.shape[2]):
                y0, y1 = _window(j, factors[1], size[2])
                for i in range(total.shape[3]):
                    x0, x1 = _window(i, factors[2], size[3])
                    added, number = total[n, k, j, i], 0
                    for z in range(z0, z1):
                        for y in range(y0, y1):
                            for x in range(x0, x1):
                                value = data[n, z, y, x]
                                if value == value:
                                    added += value
                                    number += 1
                    total[n, k, j, i] = added
                    count[n, k, j, i] = number
