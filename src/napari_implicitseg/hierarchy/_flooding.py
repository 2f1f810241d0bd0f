"""Compiled distances from membranes and floods from seeds, in linear time.

Both give what `scipy.ndimage.distance_transform_edt` and `skimage.segmentation.watershed` do, but
that the flood is on a map of 65,536 levels and may go other ways where these are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LEVELS", "distances", "flooded"]

LEVELS = 1 << 16
"""Levels of a map that is flooded; they are told apart by a part of 15 millionths."""


def distances(inside: NDArray[np.bool_], size: Sequence[float]) -> NDArray[np.float32]:
    """Euclidean distance of each voxel to the nearest one that is not inside.

    Parameters
    ----------
    inside : ndarray of bool, shape S
        2D or 3D; False somewhere.
    size : sequence of float
        Of a voxel along each axis.

    Returns
    -------
    ndarray of float32, shape S

    References
    ----------
    P. Felzenszwalb and D. Huttenlocher, "Distance transforms of sampled functions", Theory of
    Computing 8 (2012), 415-428.
    """
    squares = np.empty(inside.shape, np.float32)
    length = inside.shape[-1]
    first_axis(inside.reshape(-1, length), float(size[-1]), squares.reshape(-1, length))
    for axis in range(inside.ndim - 2, -1, -1):
        inner = int(np.prod(inside.shape[axis + 1 :]))
        next_axis(squares.reshape(-1, inside.shape[axis], inner), float(size[axis]))
    return np.sqrt(squares, out=squares)


@numba.njit(cache=True, nogil=True)
def first_axis(inside, size, squares):  # type: ignore[no-untyped-def]
    """Write the squared distance to the nearest voxel of the row that is not inside."""
    rows, length = inside.shape
    for r in range(rows):
        far = np.inf
        for i in range(length):
            far = far + size if inside[r, i] else 0.0
            squares[r, i] = far
        far = np.inf
        for i in range(length - 1, -1, -1):
            far = far + size if inside[r, i] else 0.0
            nearest = min(far, np.float64(squares[r, i]))
            squares[r, i] = nearest * nearest


@numba.njit(cache=True, nogil=True)
def next_axis(squares, size):  # type: ignore[no-untyped-def]
    """Write the least of the squares along one axis, each with its squared distance added.

    It is the lower envelope of parabolas, one for each voxel of the line.
    """
    outer, length, inner = squares.shape
    line = np.empty(length)
    feet = np.empty(length, np.int64)
    starts = np.empty(length + 1)
    for o in range(outer):
        for j in range(inner):
            last = -1
            for i in range(length):
                line[i] = squares[o, i, j]
                if line[i] == np.inf:
                    continue
                start = -np.inf
                while last >= 0:
                    foot = feet[last]
                    run = (i - foot) * size
                    start = ((line[i] - line[foot]) / run + (i + foot) * size) / 2
                    if start > starts[last]:
                        break
                    last -= 1
                    start = -np.inf
                last += 1
                feet[last], starts[last] = i, start
            if last < 0:
                continue
            starts[last + 1] = np.inf
            k = 0
            for i in range(length):
                while starts[k + 1] < i * size:
                    k += 1
                run = (i - feet[k]) * size
                squares[o, i, j] = line[feet[k]] + run * run


def flooded(height: NDArray[np.float32], seeds: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Label each voxel by the seed whose flood comes first, over faces.

    The lowest voxel at the edge of what is flooded is always next; of equal ones the one that was
    reached first.

    Parameters
    ----------
    height : ndarray of float32, shape S
        2D or 3D, 0 to 1.
    seeds : ndarray of int, shape S
        From 1, and 0 elsewhere.

    Returns
    -------
    ndarray of int32, shape S

    References
    ----------
    F. Meyer, "Topographic distance and watershed lines", Signal Processing 38 (1994), 113-125.
    """
    shape = (1,) * (3 - height.ndim) + height.shape
    # A rim that counts as labelled, so that no voxel has to know its place.
    padded = np.full(tuple(n + 2 for n in shape), -1, np.int32)
    inner = padded[1:-1, 1:-1, 1:-1]
    inner[...] = seeds.reshape(shape)
    levels = np.empty(padded.shape, np.uint16)
    levels[1:-1, 1:-1, 1:-1] = height.reshape(shape) * np.float32(LEVELS - 1)
    columns, plane = padded.shape[2], padded.shape[1] * padded.shape[2]
    steps = np.array([-plane, -columns, -1, 1, columns, plane], np.int64)
    flood(padded.reshape(-1), levels.reshape(-1), steps)
    return np.ascontiguousarray(inner).reshape(height.shape)


@numba.njit(cache=True, nogil=True)
def flood(labels, levels, steps):  # type: ignore[no-untyped-def]
    """Label the voxels that are 0 from those that are not; -1 is outside.

    Each level has a queue; all lie in `links`, in which each voxel holds the next one, and 0 is
    the end: voxel 0 is outside.
    """
    links = np.empty(labels.size, np.uint32)
    heads, tails = np.zeros(LEVELS, np.uint32), np.zeros(LEVELS, np.uint32)
    for seed in range(labels.size):
        if labels[seed] > 0:
            _append(seed, np.int64(levels[seed]), links, heads, tails)
    for level in range(LEVELS):
        while heads[level]:
            p = np.int64(heads[level])
            heads[level] = links[p]
            label = labels[p]
            for step in steps:
                q = p + step
                if labels[q] == 0:
                    labels[q] = label
                    # Beyond a ridge, what is lower is flooded at once.
                    _append(q, max(level, np.int64(levels[q])), links, heads, tails)


@numba.njit(cache=True, nogil=True)
def _append(p, level, links, heads, tails):  # type: ignore[no-untyped-def]
    """Put a voxel at the end of the queue of a level."""
    if heads[level]:
        links[tails[level]] = p
    else:
        heads[level] = p
    tails[level] = p
    links[p] = 0
