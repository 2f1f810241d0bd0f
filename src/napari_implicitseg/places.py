"""Where mistakes are: a voxel to look at for each, found block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from napari_implicitseg._block_tables import boxes, check_volumes, default_block_shape
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._block_tables import Box
    from napari_implicitseg._types import Progress
    from napari_implicitseg.mistakes import Mistake

__all__ = ["find_places"]

_MOST_AXES = 3


def find_places(
    labels: Any,
    truth: Any,
    mistakes: Sequence[Mistake],
    *,
    progress: Progress | None = None,
) -> list[tuple[int, ...] | None]:
    """Find a voxel for each mistake at which to look at it.

    It belongs to the second largest part. If that touches the largest one, it is one of the
    voxels that do, the one nearest to the middle of these; else the one nearest to the middle of
    the part. Volumes are read block by block, blocks with such voxels twice.

    Parameters
    ----------
    labels, truth : array of int or bool, shape S
        The volumes compared, of up to three axes; NumPy, zarr, dask, HDF5.
    mistakes : sequence of Mistake
        As `worst_splits` and `worst_merges` return them.
    progress : Progress, optional
        Hears of each block, and may cancel.

    Returns
    -------
    list of tuple of int
        Index of a voxel, in axis order; None if the volumes do not have the second largest part.

    Raises
    ------
    InputError
        If the arrays differ in shape, hold no integers or have more than three axes, or a mistake
        has fewer than two parts.
    """
    check_volumes(labels, truth)
    ndim = len(truth.shape)
    if not 1 <= ndim <= _MOST_AXES:
        raise InputError(
            f"The volumes have {ndim} axes, of shape {tuple(truth.shape)}; places are found along "
            f"1 to {_MOST_AXES}. Give one time point."
        )
    queries, order = _queries(mistakes)
    volumes = (labels, truth)
    parts = list(boxes(tuple(truth.shape), default_block_shape(*volumes)))
    # For the whole part and for where it touches: voxels, and sums of their indices.
    sums = np.zeros((len(queries), 2, 1 + _MOST_AXES))
    hits = []
    for i, box in enumerate(parts):
        if progress is not None:
            progress(i / len(parts), f"Looking for mistakes, block {i + 1} of {len(parts)}")
        if len(queries) and _add_up(*_read(volumes, box), queries, sums):
            hits.append(box)
    touching = sums[:, 1, 0] > 0
    chosen = np.where(touching[:, None], sums[:, 1], sums[:, 0])
    middles = chosen[:, 1:] / np.maximum(chosen[:, :1], 1)
    nearest = np.full((len(queries), 1 + _MOST_AXES), np.inf)
    for box in hits:
        _go_near(*_read(volumes, box), queries, touching, middles, nearest)
    found: list[tuple[int, ...] | None] = [None] * len(queries)
    for place, query in zip(nearest, order, strict=True):
        if np.isfinite(place[0]):
            found[query] = tuple(int(i) for i in place[1 + _MOST_AXES - ndim :])
    return found


class _Block(NamedTuple):
    """A part of two volumes with a rim of one voxel, as three axes, and where it lies.

    `start` and `stop` are where its own voxels begin and end in the arrays, `corner` the index of
    the first voxel of the arrays in the volume.
    """

    labels: NDArray[np.uint64]
    truth: NDArray[np.uint64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    corner: NDArray[np.int64]


def _read(volumes: tuple[Any, Any], box: Box) -> _Block:
    """Read a block with its rim."""
    shape = volumes[0].shape
    around = tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, shape, strict=True)
    )
    labels, truth = (np.asarray(v[around]).astype(np.uint64) for v in volumes)
    more = _MOST_AXES - len(box)
    corner = [0] * more + [part.start for part in around]
    whole = (slice(0, 1),) * more + box
    return _Block(
        labels.reshape((1,) * more + labels.shape),
        truth.reshape((1,) * more + truth.shape),
        np.array([s.start - c for s, c in zip(whole, corner, strict=True)]),
        np.array([s.stop - c for s, c in zip(whole, corner, strict=True)]),
        np.array(corner),
    )


def _queries(mistakes: Sequence[Mistake]) -> tuple[NDArray[np.uint64], list[int]]:
    """List what to look for, sorted, and which mistake each row is of.

    A row has label and truth of the second largest part, and of the largest, as 64 bits.
    """
    rows = []
    for i, mistake in enumerate(mistakes):
        if len(mistake.parts) < 2:
            raise InputError(
                f"The {mistake.kind} of {mistake.id} has {len(mistake.parts)} parts; give mistakes "
                "as worst_splits and worst_merges list them, with two or more."
            )
        pairs = []
        for part in mistake.parts[1::-1]:
            pairs += [part, mistake.id] if mistake.kind == "split" else [mistake.id, part]
        # Negative ids look like this in the volumes.
        rows.append(([value % 2**64 for value in pairs], i))
    rows.sort()
    queries = np.array([row for row, _ in rows], np.uint64).reshape(-1, 4)
    return queries, [i for _, i in rows]


@numba.njit(cache=True, nogil=True)
def _find(queries, a, b):  # type: ignore[no-untyped-def]
    """First row of a pair among the sorted ones, or how many there are."""
    low, high = 0, queries.shape[0]
    while low < high:
        middle = (low + high) // 2
        if queries[middle, 0] < a or (queries[middle, 0] == a and queries[middle, 1] < b):
            low = middle + 1
        else:
            high = middle
    if low < queries.shape[0] and queries[low, 0] == a and queries[low, 1] == b:
        return low
    return queries.shape[0]


@numba.njit(cache=True, nogil=True)
def _touches(labels, truth, z, y, x, a, b):  # type: ignore[no-untyped-def]
    """Whether a voxel shares a face with one of a pair of ids."""
    for axis in range(3):
        for step in (-1, 1):
            k = z + step * (axis == 0)
            j = y + step * (axis == 1)
            i = x + step * (axis == 2)
            inside = 0 <= k < labels.shape[0] and 0 <= j < labels.shape[1]
            if inside and 0 <= i < labels.shape[2] and labels[k, j, i] == a and truth[k, j, i] == b:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _add_up(labels, truth, start, stop, corner, queries, sums):  # type: ignore[no-untyped-def]
    """Add the voxels of a block to the sums of their rows; whether there was one."""
    none = queries.shape[0]
    hit = False
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            row = none
            for x in range(start[2], stop[2]):
                a, b = labels[z, y, x], truth[z, y, x]
                # Of a run of voxels of one pair only the first is looked up.
                if x == start[2] or a != labels[z, y, x - 1] or b != truth[z, y, x - 1]:
                    row = _find(queries, a, b)
                q = row
                while q < none and queries[q, 0] == a and queries[q, 1] == b:
                    hit = True
                    other = _touches(labels, truth, z, y, x, queries[q, 2], queries[q, 3])
                    for k in range(1 + other):
                        sums[q, k, 0] += 1
                        sums[q, k, 1] += corner[0] + z
                        sums[q, k, 2] += corner[1] + y
                        sums[q, k, 3] += corner[2] + x
                    q += 1
    return hit


@numba.njit(cache=True, nogil=True)
def _go_near(labels, truth, start, stop, corner, queries, touching, middles, nearest):  # type: ignore[no-untyped-def]
    """Keep for each row the voxel nearest to its middle: squared distance and index."""
    none = queries.shape[0]
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            row = none
            for x in range(start[2], stop[2]):
                a, b = labels[z, y, x], truth[z, y, x]
                if x == start[2] or a != labels[z, y, x - 1] or b != truth[z, y, x - 1]:
                    row = _find(queries, a, b)
                q = row
                while q < none and queries[q, 0] == a and queries[q, 1] == b:
                    k, j, i = corner[0] + z, corner[1] + y, corner[2] + x
                    far = (k - middles[q, 0]) ** 2
                    far += (j - middles[q, 1]) ** 2 + (i - middles[q, 2]) ** 2
                    if far < nearest[q, 0] and (
                        not touching[q]
                        or _touches(labels, truth, z, y, x, queries[q, 2], queries[q, 3])
                    ):
                        nearest[q, 0], nearest[q, 1] = far, k
                        nearest[q, 2], nearest[q, 3] = j, i
                    q += 1
