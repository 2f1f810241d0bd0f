"""Compiled walks along digital segments; apart, because importing numba takes its time.

A *depth* map holds, for each voxel of a mask, the max-norm distance to the
nearest voxel outside it, and 0 outside. `j` steps along a digital segment lead
at most `j` voxels away, so a walk may skip as many voxels as it is deep.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["best_seat", "fill", "look"]

_DEPTH = numba.types.Array(numba.int32, 3, "C", readonly=True)
_VOXELS = numba.types.Array(numba.int64, 2, "C", readonly=True)


@numba.njit(inline="always")
def _offset(step, k, longest):  # type: ignore[no-untyped-def]
    """Round ``step * k / longest``, ties towards 0, in integers."""
    if step == 0:
        return np.int64(0)
    size = (2 * abs(step) * k + longest - 1) // (2 * longest)
    return size if step > 0 else -size


@numba.njit(inline="always")
def _is_hidden(depth, voxel, seat):  # type: ignore[no-untyped-def]
    """Whether a voxel of the digital segment from the seat to the voxel is not inside."""
    z, y, x = seat[0], seat[1], seat[2]
    dz, dy, dx = voxel[0] - z, voxel[1] - y, voxel[2] - x
    longest = max(abs(dz), abs(dy), abs(dx))
    k = longest
    while k > 0:
        at = (
            z + _offset(dz, k, longest),
            y + _offset(dy, k, longest),
            x + _offset(dx, k, longest),
        )
        if depth[at] == 0:
            return True
        k -= depth[at]
    return depth[z, y, x] == 0


@numba.njit(
    numba.int64(_DEPTH, _VOXELS, numba.int64[::1], numba.boolean[::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def look(depth, voxels, seat, hidden):  # type: ignore[no-untyped-def]
    """Find the voxels that cannot be seen from one seat.

    Parameters
    ----------
    depth : ndarray of int32, shape (Z, Y, X)
    voxels : ndarray of int64, shape (N, 3)
        Indices into depth.
    seat : ndarray of int64, shape (3,)
        A voxel of depth.
    hidden : ndarray of bool, shape (N,)
        Overwritten.

    Returns
    -------
    int
        Number of hidden voxels.
    """
    count = 0
    for i in range(voxels.shape[0]):
        hidden[i] = _is_hidden(depth, voxels[i], seat)
        count += hidden[i]
    return count


@numba.njit(
    numba.types.UniTuple(numba.int64, 2)(_DEPTH, _VOXELS, _VOXELS, numba.int64),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def best_seat(depth, voxels, seats, limit):  # type: ignore[no-untyped-def]
    """Find the first seat from which the fewest voxels are hidden, if fewer than the limit.

    Parameters
    ----------
    depth : ndarray of int32, shape (Z, Y, X)
    voxels, seats : ndarray of int64, shapes (N, 3), (M, 3)
        Indices into depth.
    limit : int
        Seats that hide as many voxels, or more, are of no use.

    Returns
    -------
    index : int
        Row of the seat; -1 if there is none below the limit.
    hidden : int
        Voxels hidden from it; the limit if there is none.
    """
    best = -1
    for s in range(seats.shape[0]):
        if limit == 0:
            break
        seat = seats[s]
        if depth[seat[0], seat[1], seat[2]] == 0:
            continue
        count = 0
        for i in range(voxels.shape[0]):
            if _is_hidden(depth, voxels[i], seat):
                count += 1
                if count >= limit:
                    break
        if count < limit:
            best, limit = s, count
    return best, limit


@numba.njit(
    numba.void(
        _DEPTH, numba.boolean[:, :, ::1], numba.int64[:, ::1], numba.int64, numba.int64[::1]
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def fill(depth, inside, stack, count, seat):  # type: ignore[no-untyped-def]
    """Add the voxels missing on segments from a seat, and on the segments to those, and so on.

    Parameters
    ----------
    depth : ndarray of int32, shape (Z, Y, X)
        Of the mask as it was: a mask that grows is nowhere less deep.
    inside : ndarray of bool, shape (Z, Y, X)
        The mask, changed in place; holds the seat.
    stack : ndarray of int64, shape (S, 3)
        Its first rows are the voxels to begin with; there is space for all that may be added.
    count : int
        Number of those rows.
    seat : ndarray of int64, shape (3,)
    """
    z, y, x = seat[0], seat[1], seat[2]
    while count > 0:
        count -= 1
        dz, dy, dx = stack[count, 0] - z, stack[count, 1] - y, stack[count, 2] - x
        longest = max(abs(dz), abs(dy), abs(dx))
        k = longest - 1
        while k > 0:
            at = (
                z + _offset(dz, k, longest),
                y + _offset(dy, k, longest),
                x + _offset(dx, k, longest),
            )
            if not inside[at]:
                inside[at] = np.True_
                stack[count, 0], stack[count, 1], stack[count, 2] = at
                count += 1
            k -= max(depth[at], 1)
