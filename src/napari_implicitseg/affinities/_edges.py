"""Edges of a volume as sortable numbers, and the sets of voxels they join.

An edge is one int64: above, 30 bits that fall as the affinity rises; below, 32
bits that name it, the channel over the voxel it starts from. So the order of these
numbers is that of Kruskal's algorithm for the maximum spanning tree, and ties
go by channel, then in C order of the voxels.

Volumes are 3D here and flat in memory; `steps` are offsets in that flat order.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["LAST_EDGE", "fetch", "find", "is_usable", "name_of", "row_bounds", "sort_edges"]

LAST_EDGE = 1 << 62
"""More than the number of any edge."""

# float32 numbers from 0 to 1 sort like their bits, and 1 has these.
_ONE = 0x3F800000
_DIGITS = 3
_DIGIT_BITS = 10
_BUCKETS = 1 << _DIGIT_BITS


@numba.njit(inline="always")
def fetch(bits, channel, voxel, size, voxel_bits):  # type: ignore[no-untyped-def]
    """Read an edge as a number, from the bits of its affinity; minus 0 counts as 0."""
    key = _ONE - np.int64(bits[channel * size + voxel] & np.uint32(0x7FFFFFFF))
    return (key << 32) | (np.int64(channel) << voxel_bits) | np.int64(voxel)


@numba.njit(inline="always")
def name_of(edge, voxel_bits):  # type: ignore[no-untyped-def]
    """Channel and voxel of an edge."""
    name = edge & 0xFFFFFFFF
    return name >> voxel_bits, name & ((np.int64(1) << voxel_bits) - 1)


@numba.njit(inline="always")
def is_usable(mask, index):  # type: ignore[no-untyped-def]
    """Whether an edge may be used; an empty mask allows all."""
    return mask.size == 0 or mask[index]


@numba.njit(inline="always")
def row_bounds(z, y, shape, offset):  # type: ignore[no-untyped-def]
    """First x of a row whose edges along an offset stay inside, and the one after the last."""
    if not (0 <= z + offset[0] < shape[0] and 0 <= y + offset[1] < shape[1]):
        return 0, 0
    return max(0, -offset[2]), min(shape[2], shape[2] - offset[2])


@numba.njit(inline="always")
def find(parent, node):  # type: ignore[no-untyped-def]
    """Root of a node; roots hold a negative number. Paths are halved on the way."""
    # Unsigned, so that no index is checked for counting from the end.
    node = np.uint64(node)
    above = parent[node]
    while above >= 0:
        next_above = parent[np.uint64(above)]
        if next_above < 0:
            return np.uint64(above)
        parent[node] = next_above
        node = np.uint64(next_above)
        above = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def sort_edges(edges, spare, count):  # type: ignore[no-untyped-def]
    """Sort the first `count` edges by affinity, stably; True if they ended up in `spare`.

    Radix sort from the lowest digit up. The bits that name an edge are not looked at: edges
    come in their order.
    """
    totals = np.zeros((_DIGITS, _BUCKETS), np.int64)
    for i in range(count):
        key = edges[i] >> 32
        for d in range(_DIGITS):
            totals[d, (key >> (d * _DIGIT_BITS)) & (_BUCKETS - 1)] += 1
    swapped = False
    source, target = edges, spare
    for d in range(_DIGITS):
        shift = 32 + d * _DIGIT_BITS
        if count == 0 or totals[d, (source[0] >> shift) & (_BUCKETS - 1)] == count:
            continue
        heads = totals[d]
        begin = 0
        for bucket in range(_BUCKETS):
            size = heads[bucket]
            heads[bucket] = begin
            begin += size
        for i in range(count):
            edge = source[i]
            bucket = (edge >> shift) & (_BUCKETS - 1)
            target[heads[bucket]] = edge
            heads[bucket] += 1
        source, target = target, source
        swapped = not swapped
    return swapped
