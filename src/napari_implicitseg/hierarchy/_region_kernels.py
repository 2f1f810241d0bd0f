"""Compiled passes over the faces between fragments: which touch, and their affinities.

Edges of the graph are sorted by the smaller id and then by the larger one: those of which
`a` is the smaller id lie from `starts[a]` to `starts[a + 1]`, and `others` are their larger
ids. Ids are near in memory if they are near in the volume, so this is faster than hashing.

Edges along one axis come as in `_unions.py`: `values` of shape (outer, length, inner) and
`first`, -1 where nothing is known. Labels are flat, in C order; 0 has no edges.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "add_contacts",
    "add_far",
    "count_bins",
    "count_sizes",
    "draw_borders",
    "fill_quantiles",
    "list_faces",
    "sort_rows",
]


@numba.njit(cache=True, nogil=True)
def count_sizes(labels, sizes):  # type: ignore[no-untyped-def]
    """Count the voxels of each id; whether all ids are less than the length of `sizes`."""
    start = 0
    while start < labels.size:
        label = labels[start]
        stop = start + 1
        while stop < labels.size and labels[stop] == label:
            stop += 1
        if label >= sizes.size:
            return False
        sizes[label] += stop - start
        start = stop
    return True


@numba.njit(cache=True, nogil=True)
def list_faces(labels, values, first, starts, others):  # type: ignore[no-untyped-def]
    """List the known edges of one axis that join two fragments, by the smaller id.

    Of edges in a row between the same two, one is taken. Without room in `others` they are
    counted, at the smaller id plus 2 of `starts`. Else the larger ids are written down, from
    `starts[a + 1]` on, which moves along.
    """
    outer, length, inner = values.shape
    u = v = np.uint32(0)
    counting = others.size == 0
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                a, b = labels[start + j], labels[start + inner + j]
                if a == b or a == 0 or b == 0 or values[o, i + first, j] < 0:
                    continue
                if a == u and b == v:
                    continue
                u, v = a, b
                row = np.int64(min(a, b)) + 1
                if counting:
                    starts[row + 1] += 1
                else:
                    others[starts[row]] = max(a, b)
                    starts[row] += 1


@numba.njit(cache=True, nogil=True)
def _sort(row):  # type: ignore[no-untyped-def]
    """Sort a few numbers, or many."""
    if row.size > 32:
        row.sort()
        return
    for i in range(1, row.size):
        value, j = row[i], i
        while j > 0 and row[j - 1] > value:
            row[j] = row[j - 1]
            j -= 1
        row[j] = value


@numba.njit(cache=True, nogil=True)
def sort_rows(starts, others):  # type: ignore[no-untyped-def]
    """Leave each larger id once in its row, in order and without room between; how many."""
    # The row in which an id was seen last; no fragment is 0.
    seen = np.zeros(starts.size, np.uint32)
    found, begin = 0, np.int64(0)
    for a in range(starts.size - 1):
        end = starts[a + 1]
        starts[a] = found
        for i in range(begin, end):
            b = others[i]
            if seen[b] != a:
                seen[b] = a
                others[found] = b
                found += 1
        _sort(others[starts[a] : found])
        begin = end
    starts[-1] = found
    return found


@numba.njit(cache=True, nogil=True)
def _edge(starts, others, a, b):  # type: ignore[no-untyped-def]
    """Place of the edge between two ids, or -1."""
    if a > b:
        a, b = b, a
    low, end = starts[a], starts[np.int64(a) + 1]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if others[middle] < b:
            low = middle + 1
        else:
            high = middle
    return low if low < end and others[low] == b else np.int64(-1)


@numba.njit(cache=True, nogil=True)
def add_contacts(  # type: ignore[no-untyped-def]
    labels, values, first, starts, others, counts, sums, maxima, places
):
    """Add the known edges of one axis to those of the graph: number, sum, largest and where."""
    outer, length, inner = values.shape
    u = v = np.uint32(0)
    e = np.int64(-1)
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                a, b = labels[start + j], labels[start + inner + j]
                if a == b or a == 0 or b == 0:
                    continue
                value = values[o, i + first, j]
                if value < 0:
                    continue
                if a != u or b != v:
                    u, v = a, b
                    e = _edge(starts, others, a, b)
                counts[e] += 1
                sums[e] += value
                if value > maxima[e]:
                    maxima[e], places[e] = value, start + j


@numba.njit(cache=True, nogil=True)
def draw_borders(labels, values, starts, others, heights, out):  # type: ignore[no-untyped-def]
    """Raise both voxels of each face of one axis between fragments to the height of their edge."""
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                p, q = start + j, start + inner + j
                if labels[p] != labels[q] and labels[p] and labels[q]:
                    height = heights[_edge(starts, others, labels[p], labels[q])]
                    out[p] = max(out[p], height)
                    out[q] = max(out[q], height)


@numba.njit(cache=True, nogil=True)
def count_bins(labels, values, first, starts, others, histograms):  # type: ignore[no-untyped-def]
    """Count the affinities of the known edges of one axis in equal bins from 0 to 1."""
    outer, length, inner = values.shape
    bins = histograms.shape[1]
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                a, b = labels[start + j], labels[start + inner + j]
                value = values[o, i + first, j]
                if a != b and a and b and value >= 0:
                    place = min(np.int64(np.float64(value) * bins), bins - 1)
                    histograms[_edge(starts, others, a, b), place] += 1


@numba.njit(cache=True, nogil=True)
def fill_quantiles(histograms, counts, share, quantiles):  # type: ignore[no-untyped-def]
    """Find where a share of the affinities of each edge is reached, linearly inside a bin."""
    bins = histograms.shape[1]
    for e in range(counts.size):
        # But for rounding: 0.7 of 10 is a little more than 7.
        rank = share * counts[e] * (1 - 1e-12)
        below, k = np.int64(0), 0
        while histograms[e, k] == 0 or below + histograms[e, k] < rank:
            below += histograms[e, k]
            k += 1
        inside = (share * counts[e] - below) / histograms[e, k]
        quantiles[e] = (k + min(inside, 1.0)) / bins


@numba.njit(cache=True, nogil=True)
def add_far(labels, values, known, offset, starts, others, counts, sums):  # type: ignore[no-untyped-def]
    """Add the edges along any offset to those edges of the graph whose fragments they join.

    Parameters
    ----------
    labels, values : ndarray, shape (z, y, x)
    known : ndarray of bool, shape (z, y, x) or empty
        Which edges are known; all if it is empty.
    offset : ndarray of int64, shape (3,)
    starts, others, counts, sums : ndarray
        As for the direct edges.

    Returns
    -------
    bool
        Whether all known edges are from 0 to 1.
    """
    depth, height, width = labels.shape
    dz, dy, dx = offset[0], offset[1], offset[2]
    u = v = np.uint32(0)
    e = np.int64(-1)
    for z in range(max(0, -dz), min(depth, depth - dz)):
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                if known.size and not known[z, y, x]:
                    continue
                value = values[z, y, x]
                # So that NaN is refused, too.
                if not (value >= 0 and value <= 1):
                    return False
                a, b = labels[z, y, x], labels[z + dz, y + dy, x + dx]
                if a == b or a == 0 or b == 0:
                    continue
                if a != u or b != v:
                    u, v = a, b
                    e = _edge(starts, others, a, b)
                if e >= 0:
                    counts[e] += 1
                    sums[e] += value
    return True
