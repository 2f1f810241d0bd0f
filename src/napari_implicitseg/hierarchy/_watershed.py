"""Compiled watershed on the edges of a volume, in linear time and two bytes per voxel.

Each voxel goes along the edge of its highest affinity. `bits` marks all edges of a voxel
that have it: bit `2 a` the edge to the voxel before along axis `a`, bit `2 a + 1` that to
the voxel after; `steps` is how far they lead in C order. `ways` is the one that is
taken, counted from 1; 0 is none yet, and `_ROOT` the place where ways end.

Edges along one axis come as in `_unions.py`: `values` of shape (outer, length, inner) and
`first`.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "LOWEST",
    "add_edges",
    "find_roots",
    "join_equal",
    "label_basins",
    "leave_plateaus",
    "mark_best",
    "raise_best",
    "renumber",
]

# More than the number of any of the six directions.
_ROOT = 7
# Lowest bit that is set, for each number of six bits.
LOWEST = np.array([6, *((n & -n).bit_length() - 1 for n in range(1, 64))], np.int64)


@numba.njit(cache=True, nogil=True)
def raise_best(best, values, first):  # type: ignore[no-untyped-def]
    """Raise the highest affinity of each voxel by the edges of one axis."""
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                value = values[o, i + first, j]
                best[start + j] = max(best[start + j], value)
                best[start + inner + j] = max(best[start + inner + j], value)


@numba.njit(cache=True, nogil=True)
def mark_best(bits, best, values, first, axis):  # type: ignore[no-untyped-def]
    """Mark the edges of one axis that have the highest affinity of a voxel; never those of 0."""
    outer, length, inner = values.shape
    before, after = np.uint8(1 << (2 * axis)), np.uint8(2 << (2 * axis))
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                value = values[o, i + first, j]
                p, q = start + j, start + inner + j
                bits[p] |= after if (value == best[p]) & (value > 0) else np.uint8(0)
                bits[q] |= before if (value == best[q]) & (value > 0) else np.uint8(0)


@numba.njit(cache=True, nogil=True)
def _spread(ways, bits, steps, links, head, tail):  # type: ignore[no-untyped-def]
    """Lead all voxels of plateaus to the ones in a queue, nearest first.

    The queue lies in `links`: each voxel holds the next one, and the last one itself.
    """
    p = head
    while True:
        marks = np.int64(bits[p])
        while marks:
            k = LOWEST[marks]
            marks &= marks - 1
            q = p + steps[k]
            if ways[q] == 0 and (bits[q] >> (k ^ 1)) & 1:
                ways[q] = (k ^ 1) + 1
                links[tail] = q
                links[q] = q
                tail = q
        following = np.int64(links[p])
        if following == p:
            return
        p = following


@numba.njit(cache=True, nogil=True)
def leave_plateaus(ways, bits, steps, links):  # type: ignore[no-untyped-def]
    """Give a way to all voxels but those of minima.

    A voxel whose best edge is not the best of its other end goes there, and up. Edges that
    are the best of both ends form plateaus: their voxels go to the nearest one that leads away.
    """
    head = tail = -1
    for p in range(bits.size):
        marks = np.int64(bits[p])
        shared = False
        while marks:
            k = LOWEST[marks]
            marks &= marks - 1
            if (bits[p + steps[k]] >> (k ^ 1)) & 1:
                shared = True
            elif ways[p] == 0:
                ways[p] = k + 1
        if shared and ways[p]:
            if head < 0:
                head = p
            else:
                links[tail] = p
            links[p] = p
            tail = p
    if head >= 0:
        _spread(ways, bits, steps, links, head, tail)


@numba.njit(cache=True, nogil=True)
def find_roots(ways, bits, steps, links):  # type: ignore[no-untyped-def]
    """Lead the voxels of each minimum to the first of them; voxels without any way are roots."""
    for p in range(bits.size):
        if ways[p] == 0:
            ways[p] = _ROOT
            links[p] = p
            _spread(ways, bits, steps, links, p, p)


@numba.njit(cache=True, nogil=True)
def label_basins(labels, ways, steps):  # type: ignore[no-untyped-def]
    """Label the voxels whose ways end at one root, from 1 by first voxel; how many there are."""
    labels[:] = 0
    count = 0
    for start in range(labels.size):
        if labels[start]:
            continue
        p = start
        while labels[p] == 0 and ways[p] != _ROOT:
            p += steps[ways[p] - 1]
        if labels[p] == 0:
            count += 1
            labels[p] = count
        label = labels[p]
        p = start
        while labels[p] == 0:
            labels[p] = label
            p += steps[ways[p] - 1]
    return count


@numba.njit(cache=True, nogil=True)
def add_edges(sums, counts, values, first):  # type: ignore[no-untyped-def]
    """Add the affinity of each known edge of one axis to both of its voxels, and count it."""
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                value = values[o, i + first, j]
                if value >= 0:
                    sums[start + j] += value
                    sums[start + inner + j] += value
                    counts[start + j] += 1
                    counts[start + inner + j] += 1


@numba.njit(cache=True, nogil=True)
def join_equal(parent, labels, values, first):  # type: ignore[no-untyped-def]
    """Join voxels of one label over the known edges of one axis; roots are the smallest."""
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                p, q = start + j, start + inner + j
                if values[o, i + first, j] >= 0 and labels[p] == labels[q]:
                    while parent[p] != p:
                        parent[p] = parent[parent[p]]
                        p = parent[p]
                    while parent[q] != q:
                        parent[q] = parent[parent[q]]
                        q = parent[q]
                    parent[max(p, q)] = min(p, q)


@numba.njit(cache=True, nogil=True)
def renumber(labels, numbers):  # type: ignore[no-untyped-def]
    """Replace each label by its number."""
    for p in range(labels.size):
        labels[p] = numbers[labels[p]]
