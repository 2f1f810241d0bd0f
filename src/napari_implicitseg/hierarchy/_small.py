"""Compiled merging of small fragments, each over its best edge.

The result is that of going through all edges between fragments by descending affinity and
joining the ends of each as long as one is small. But the edges are never listed or sorted.
What is small at its turn joins over its best edge, whatever else happens, since no other
edge comes before that; so it is enough to follow best edges until two small ones have the
same, or one leads to a large one. A small fragment has few voxels to look for its edges at.

Fragments and edges come as in `_region_kernels.py`. `members` are circular lists of the voxels
of small fragments, `heads` one voxel of each. `ways` marks the edges of a voxel that lead to
other fragments, by the bits of `_watershed.py`.
"""

from __future__ import annotations

import numba
import numpy as np

from napari_implicitseg.hierarchy._watershed import LOWEST

__all__ = ["list_members", "mark_ways", "merge_small"]

_NONE = np.uint32(2**32 - 1)


@numba.njit(cache=True, nogil=True)
def list_members(labels, sizes, least, heads, members):  # type: ignore[no-untyped-def]
    """List the voxels of each fragment of fewer than `least`."""
    heads[:] = _NONE
    for p in range(labels.size):
        a = labels[p]
        if sizes[a] < least:
            if heads[a] == _NONE:
                heads[a] = members[p] = p
            else:
                members[p] = members[heads[a]]
                members[heads[a]] = p


@numba.njit(cache=True, nogil=True)
def mark_ways(ways, labels, values, first, axis):  # type: ignore[no-untyped-def]
    """Mark the known edges of one axis between different fragments."""
    before, after = np.uint8(1 << (2 * axis)), np.uint8(2 << (2 * axis))
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                p, q = start + j, start + inner + j
                apart = (labels[p] != labels[q]) & (values[o, i + first, j] >= 0)
                ways[p] |= after if apart else np.uint8(0)
                ways[q] |= before if apart else np.uint8(0)


@numba.njit(cache=True, nogil=True)
def _root(parent, a):  # type: ignore[no-untyped-def]
    """Root of a tree; the path to it is halved on the way."""
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    return a


@numba.njit(cache=True, nogil=True)
def _before(a, b, low, high):  # type: ignore[no-untyped-def]
    """Whether the edge between two ids comes before that from `low` to `high`."""
    u = min(a, b)
    return u < low or (u == low and max(a, b) < high)


@numba.njit(cache=True, nogil=True)
def _best_edge(a, labels, first, second, third, shifts, steps, ways, parent, heads, members):  # type: ignore[no-untyped-def]
    """Return the fragments that the best edge out of a small one leads between, or 0.

    Edges that do not lead out of it any more are forgotten.
    """
    best, low, high = np.float32(-1), np.uint32(0), np.uint32(0)
    start = p = np.int64(heads[a])
    while True:
        own, marks = labels[p], np.int64(ways[p])
        while marks:
            k = LOWEST[marks]
            marks &= marks - 1
            at = p + shifts[k]
            value = first[at] if k < 2 else second[at] if k < 4 else third[at]
            if value < best:
                continue
            other = labels[p + steps[k]]
            if value == best and not _before(own, other, low, high):
                continue
            if _root(parent, other) == a:
                ways[p] ^= np.uint8(1 << k)
            else:
                best, low, high = value, min(own, other), max(own, other)
        p = np.int64(members[p])
        if p == start:
            return low, high


@numba.njit(cache=True, nogil=True)
def _join(a, b, parent, sizes, heads, members, least):  # type: ignore[no-untyped-def]
    """Join two trees and return the root, the smaller of both."""
    root, other = min(a, b), max(a, b)
    if sizes[root] < least and sizes[other] < least:
        # Two circles become one when two links change places.
        one, two = heads[root], heads[other]
        members[one], members[two] = members[two], members[one]
    parent[other] = root
    sizes[root] += sizes[other]
    return root


@numba.njit(cache=True, nogil=True)
def merge_small(  # type: ignore[no-untyped-def]
    labels, first, second, third, shifts, steps, ways, parent, sizes, heads, members, least
):
    """Join fragments of fewer than `least` voxels with others.

    Parameters
    ----------
    labels : ndarray of uint32, shape (voxels,)
    first, second, third : ndarray of float32
        Affinities of each axis, flat; those of missing axes are empty.
    shifts, steps : ndarray of int64, shape (2 axes,)
        How far the affinity of an edge, and the voxel at its end, lie from a voxel: before it
        along the first axis, after it, before it along the second one, and so on.
    ways : ndarray of uint8, shape (voxels,)
        Of `mark_ways`; is changed.
    parent : ndarray of uint32, shape (N + 1,)
        Each its own; is changed to trees, roots being their smallest members.
    sizes : ndarray of int64, shape (N + 1,)
        Is changed: roots hold the sizes of their trees.
    heads : ndarray of uint32, shape (N + 1,)
    members : ndarray of uint32, shape (voxels,)
        Of `list_members`; is changed.
    least : int
    """
    # Each is small, and its best edge leads to the next one. On the way edges get better: so it
    # never comes back to where it was.
    chain = np.empty(64, np.uint32)
    for fragment in range(1, parent.size):
        chain[0] = _root(parent, np.uint32(fragment))
        top = 0
        while top >= 0:
            a = chain[top]
            if sizes[a] >= least:
                top -= 1
                if top >= 0:
                    chain[top] = _join(chain[top], a, parent, sizes, heads, members, least)
                continue
            low, high = _best_edge(
                a, labels, first, second, third, shifts, steps, ways, parent, heads, members
            )
            if low == 0:
                break
            b = _root(parent, low)
            if b == a:
                b = _root(parent, high)
            if top > 0 and b == chain[top - 1]:
                top -= 1
                chain[top] = _join(a, b, parent, sizes, heads, members, least)
            elif sizes[b] >= least:
                chain[top] = _join(a, b, parent, sizes, heads, members, least)
            else:
                top += 1
                if top == chain.size:
                    chain = np.append(chain, np.empty(chain.size, np.uint32))
                chain[top] = b
