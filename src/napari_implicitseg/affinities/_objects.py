"""Spanning trees inside objects: the positive pass of constrained MALIS.

Only edges inside an object count, so the graph falls apart into the objects, and
each set of voxels has one label: an edge that joins sets A and B joins |A| |B|
pairs of one label. Objects are taken one after the other, which keeps the edges
to sort and the sets to join in the processor's cache.
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

__all__ = ["collect_inside", "group_voxels", "join_groups", "join_inside"]


@numba.njit(cache=True, nogil=True)
def group_voxels(labels, count, least, voxels):  # type: ignore[no-untyped-def]
    """Sort labelled voxels by label, and cut them into groups of whole objects.

    Parameters
    ----------
    labels : ndarray of int32, shape (N,)
        Dense; 0 is left out.
    count : int
        The largest label.
    least : int
        Voxels of a group, unless it is the last: small objects share one sort.
    voxels : ndarray of int32, shape (N,)
        Takes the labelled voxels by label, and in C order within one.

    Returns
    -------
    ndarray of int64, shape (G + 1,)
        Where each group begins, and the last one ends.
    """
    heads = np.zeros(count + 2, np.int64)
    for v in range(labels.size):
        heads[labels[v] + 1] += 1
    heads[1] = 0
    for label in range(1, count + 2):
        heads[label] += heads[label - 1]
    bounds = [np.int64(0)]
    for label in range(1, count + 1):
        if heads[label + 1] - bounds[-1] >= least or label == count:
            bounds.append(heads[label + 1])
    for v in range(labels.size):
        label = labels[v]
        if label != 0:
            voxels[heads[label]] = v
            heads[label] += 1
    return np.array(bounds)


@numba.njit(cache=True, nogil=True)
def collect_inside(  # type: ignore[no-untyped-def]
    bits, mask, labels, voxels, shape, offsets, voxel_bits, parent, begin, end, edges
):
    """Collect the usable edges from voxels to others of their label.

    Those before `begin` have been used; where there were any, edges within one set of `parent`
    are left out, since they cannot join anything any more.

    Returns
    -------
    int
        How many there are; `edges` takes as many as it can hold.
    """
    size, width = labels.size, shape[2]
    count = 0
    for k in range(len(offsets)):
        offset = offsets[k]
        step = (offset[0] * shape[1] + offset[1]) * width + offset[2]
        row, low, high = np.int64(-width), np.int64(0), np.int64(0)
        for i in range(voxels.size):
            v = np.int64(voxels[i])
            if v < row or v >= row + width:
                y = v // width
                row = y * width
                z = y // shape[1]
                low, high = row_bounds(z, y - z * shape[1], shape, offset)
            if not low <= v - row < high or labels[v] != labels[v + step]:
                continue
            edge = fetch(bits, k, v, size, voxel_bits)
            if begin <= edge < end and is_usable(mask, k * size + v):
                if begin > 0 and find(parent, v) == find(parent, v + step):
                    continue
                if count < edges.size:
                    edges[count] = edge
                count += 1
    return count


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
        a = find(parent, v)
        b = find(parent, v + steps[k])
        if a != b:
            size_a, size_b = -np.int64(parent[a]), -np.int64(parent[b])
            pairs[k * size + v] = size_a * size_b
            if size_a < size_b:
                a, b = b, a
            parent[b] = a
            parent[a] = -(size_a + size_b)


@numba.njit(cache=True, nogil=True)
def join_groups(  # type: ignore[no-untyped-def]
    bits,
    mask,
    labels,
    voxels,
    bounds,
    shape,
    offsets,
    steps,
    voxel_bits,
    edges,
    spare,
    parent,
    pairs,
):
    """Count the pairs that edges inside objects join, one group of objects after the other."""
    for g in range(bounds.size - 1):
        group = voxels[bounds[g] : bounds[g + 1]]
        count = collect_inside(
            bits, mask, labels, group, shape, offsets, voxel_bits, parent, 0, LAST_EDGE, edges
        )
        ordered = spare if sort_edges(edges, spare, count) else edges
        join_inside(ordered, count, parent, steps, voxel_bits, pairs)
