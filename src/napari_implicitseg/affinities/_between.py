"""Edges between objects: nodes that stand for their connected parts, and the edges among them.

With edges inside objects set to 1 first, as in the negative pass of constrained
MALIS, each connected part of an object is one node of the graph. Voxels without a
label stay nodes of their own; they carry no pairs but may connect others.
"""

from __future__ import annotations

import numba

from napari_implicitseg.affinities._edges import fetch, find, is_usable, row_bounds

__all__ = ["collect_between", "contract", "number_nodes"]


@numba.njit(inline="always")
def _first(above, voxel):  # type: ignore[no-untyped-def]
    """First voxel of a set; `above` leads to earlier voxels, or to itself."""
    while above[voxel] != voxel:
        above[voxel] = above[above[voxel]]
        voxel = above[voxel]
    return voxel


@numba.njit(cache=True, nogil=True)
def contract(mask, labels, shape, offsets, above):  # type: ignore[no-untyped-def]
    """Join voxels of one label along usable edges.

    Parameters
    ----------
    mask : ndarray of bool, shape (K * N,) or empty
    labels : ndarray of int32, shape (N,)
    shape, offsets : tuple
    above : ndarray of int32, shape (N,)
        Sets so far, each voxel leading to an earlier one of its set or itself. Changed in place.
    """
    size, width = labels.size, shape[2]
    for z in range(shape[0]):
        for y in range(shape[1]):
            row = (z * shape[1] + y) * width
            for k in range(len(offsets)):
                offset = offsets[k]
                step = (offset[0] * shape[1] + offset[1]) * width + offset[2]
                low, high = row_bounds(z, y, shape, offset)
                for v in range(row + low, row + high):
                    u = v + step
                    if labels[v] == 0 or labels[v] != labels[u] or above[v] == above[u]:
                        continue
                    if is_usable(mask, k * size + v):
                        a, b = _first(above, v), _first(above, u)
                        if a < b:
                            above[b] = a
                        else:
                            above[a] = b


@numba.njit(cache=True, nogil=True)
def number_nodes(labels, above, label_of, weights):  # type: ignore[no-untyped-def]
    """Give numbers to the sets of voxels, first to those with a label.

    Parameters
    ----------
    labels : ndarray of int32, shape (N,)
    above : ndarray of int32, shape (N,)
        Sets, as `contract` leaves them. Becomes the node of each voxel.
    label_of, weights : ndarray of int32 and int64, shape (C,) or empty
        Take the label and the number of voxels of the nodes with a label; if empty, they are
        only counted, and nothing is changed.

    Returns
    -------
    labelled, total : int
        The number of nodes with a label, and of all.
    """
    labelled, others = 0, 0
    for v in range(labels.size):
        if above[v] == v:
            if labels[v] != 0:
                labelled += 1
            else:
                others += 1
    if label_of.size == 0:
        return labelled, labelled + others
    used, free = 0, labelled
    for v in range(labels.size):
        # The voxel above is an earlier one, so it has its number already.
        if above[v] != v:
            above[v] = above[above[v]]
        elif labels[v] != 0:
            label_of[used] = labels[v]
            weights[used] = 0
            above[v] = used
            used += 1
        else:
            above[v] = free
            free += 1
        if labels[v] != 0:
            weights[above[v]] += 1
    return labelled, labelled + others


@numba.njit(cache=True, nogil=True)
def collect_between(  # type: ignore[no-untyped-def]
    bits, mask, nodes, shape, offsets, voxel_bits, row_step, parent, begin, end, edges
):
    """Collect the usable edges between different nodes, from every `row_step`-th row.

    Those before `begin` have been used; where there were any, edges within one set of `parent`
    are left out, since they cannot join anything any more.

    Returns
    -------
    int
        How many there are; `edges` takes as many as it can hold.
    """
    size, width = nodes.size, shape[2]
    count = 0
    for k in range(len(offsets)):
        offset = offsets[k]
        step = (offset[0] * shape[1] + offset[1]) * width + offset[2]
        for line in range(0, shape[0] * shape[1], row_step):
            z = line // shape[1]
            row = line * width
            low, high = row_bounds(z, line - z * shape[1], shape, offset)
            for v in range(row + low, row + high):
                if nodes[v] == nodes[v + step]:
                    continue
                edge = fetch(bits, k, v, size, voxel_bits)
                if begin <= edge < end and is_usable(mask, k * size + v):
                    if begin > 0 and find(parent, nodes[v]) == find(parent, nodes[v + step]):
                        continue
                    if count < edges.size:
                        edges[count] = edge
                    count += 1
    return count
