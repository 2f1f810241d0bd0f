"""Spanning trees inside objects: the positive pass of constrained MALIS.

Only edges inside an object count, so the graph falls apart into the objects, and
each set of voxels has one label: an edge that joins sets A and B joins |A| |B|
pairs of one label. Edges are sorted by object first, in one walk through the volume.
Objects are then taken one after the other, which keeps the edges to sort and the sets
to join in the processor's cache.
"""

from __future__ import annotations

import numba
import numpy as np

from napari_implicitseg.affinities._edges import (
    LAST_EDGE,
    fetch,
    find,
    is_usable,
    name_of,
    row_bounds,
    sort_edges,
)

__all__ = ["collect_inside", "count_inside", "join_inside", "join_objects"]


@numba.njit(cache=True, nogil=True)
def count_inside(mask, labels, shape, offsets, totals):  # type: ignore[no-untyped-def]
    """Count the usable edges between voxels of one label; add them to `totals[label]`."""
    size, width = labels.size, shape[2]
    for k in range(len(offsets)):
        offset = offsets[k]
        step = (offset[0] * shape[1] + offset[1]) * width + offset[2]
        for line in range(shape[0] * shape[1]):
            z = line // shape[1]
            low, high = row_bounds(z, line - z * shape[1], shape, offset)
            v, stop = line * width + low, line * width + high
            while v < stop:
                label, found = labels[v], 0
                while v < stop and labels[v] == label:
                    found += labels[v + step] == label and is_usable(mask, k * size + v)
                    v += 1
                totals[label] += found


@numba.njit(cache=True, nogil=True)
def collect_inside(  # type: ignore[no-untyped-def]
    bits,
    mask,
    labels,
    first,
    last,
    shape,
    offsets,
    voxel_bits,
    row_step,
    parent,
    begin,
    end,
    heads,
    edges,
):
    """Collect the usable edges inside objects `first` to `last`, each object's where it belongs.

    Those before `begin` have been used; where there were any, edges within one set of `parent`
    are left out, since they cannot join anything any more.

    Parameters
    ----------
    first, last : int
        Labels, from 1.
    row_step : int
        Take edges from every so many rows.
    begin, end : int
        Take edges from `begin` on and before `end`.
    heads : ndarray of int64, shape (L + 1,)
        Place in `edges` of the next edge of each label. Changed in place, also where edges
        would be further on than `edges` is long and are not written.
    edges : ndarray of int64
    """
    size, width = labels.size, shape[2]
    has_all = begin == 0 and end == LAST_EDGE and mask.size == 0
    for k in range(len(offsets)):
        offset = offsets[k]
        step = (offset[0] * shape[1] + offset[1]) * width + offset[2]
        for line in range(0, shape[0] * shape[1], row_step):
            z = line // shape[1]
            low, high = row_bounds(z, line - z * shape[1], shape, offset)
            v, stop = line * width + low, line * width + high
            while v < stop:
                label = labels[v]
                if not first <= label <= last:
                    v += 1
                    continue
                head = heads[label]
                while v < stop and labels[v] == label:
                    if labels[v + step] == label:
                        edge = fetch(bits, k, v, size, voxel_bits)
                        if has_all or (
                            begin <= edge < end
                            and is_usable(mask, k * size + v)
                            and (begin == 0 or find(parent, v) != find(parent, v + step))
                        ):
                            if head < edges.size:
                                edges[head] = edge
                            head += 1
                    v += 1
                heads[label] = head


@numba.njit(cache=True, nogil=True)
def join_inside(edges, count, parent, steps, voxel_bits, pairs):  # type: ignore[no-untyped-def]
    """Kruskal's algorithm; writes the voxel pairs that each edge of the tree joins.

    Parameters
    ----------
    edges : ndarray of int64
        The first `count` are in order.
    parent : ndarray of int32, shape (N,)
        Sets so far: a root holds minus its number of voxels. Changed in place.
    steps : ndarray of int64, shape (K,)
    pairs : ndarray of int64, shape (K * N,)
        Changed in place.
    """
    size = parent.size
    for i in range(count):
        k, v = name_of(edges[i], voxel_bits)
        a, b = find(parent, v), find(parent, v + steps[k])
        if a != b:
            size_a, size_b = -np.int64(parent[a]), -np.int64(parent[b])
            pairs[k * size + v] = size_a * size_b
            if size_a < size_b:
                a, b = b, a
            parent[b] = a
            parent[a] = -(size_a + size_b)


@numba.njit(cache=True, nogil=True)
def join_objects(  # type: ignore[no-untyped-def]
    edges, bounds, least, spare, parent, steps, voxel_bits, pairs
):
    """Sort and join the edges of objects, in groups of at least `least` edges.

    Parameters
    ----------
    edges : ndarray of int64
        Those of object i from `bounds[i]` on and before `bounds[i + 1]`. Used up.
    bounds : ndarray of int64
    least : int
        Small objects share one sort.
    spare : ndarray of int64
        Room for the edges of the largest object, and for `least` more.
    parent, steps, voxel_bits, pairs
        As `join_inside` takes them.
    """
    begin = bounds[0]
    for i in range(1, bounds.size):
        count = bounds[i] - begin
        if count >= least or i == bounds.size - 1:
            group = edges[begin : bounds[i]]
            ordered = spare if sort_edges(group, spare, count) else group
            join_inside(ordered, count, parent, steps, voxel_bits, pairs)
            begin = bounds[i]
