"""Compiled union-find over the voxels of a volume and over its components.

The root of a tree is its smallest member. So every member comes after its root, and
one pass in ascending order numbers the trees by their first member.

Edges along one axis come as `values` of shape (outer, length, inner), a reshape of
the volume, with `first` 0 or 1: `values[o, i + first, j]` is the affinity of the edge
from (o, i, j) to (o, i + 1, j), and -1 where nothing is known.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "boundary_edges",
    "grow_owners",
    "join_axis",
    "join_edges",
    "number_owners",
    "number_trees",
    "root_of",
    "spanning_edges",
]


@numba.njit(cache=True, nogil=True)
def root_of(parent, p):  # type: ignore[no-untyped-def]
    """Root of a tree; the path to it is halved on the way."""
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@numba.njit(cache=True, nogil=True)
def _unite(parent, p, q):  # type: ignore[no-untyped-def]
    """Join the trees of two members; whether they were apart."""
    a, b = root_of(parent, p), root_of(parent, q)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b
    return a != b


@numba.njit(cache=True, nogil=True)
def join_axis(parent, values, first, threshold):  # type: ignore[no-untyped-def]
    """Join voxels over the edges of one axis above a threshold."""
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                if values[o, i + first, j] > threshold:
                    p = start + j
                    if parent[p] != parent[p + inner]:
                        _unite(parent, p, p + inner)


@numba.njit(cache=True, nogil=True)
def join_edges(parent, sources, targets):  # type: ignore[no-untyped-def]
    """Join the ends of edges."""
    for e in range(sources.size):
        _unite(parent, sources[e], targets[e])


@numba.njit(cache=True, nogil=True)
def number_trees(parent):  # type: ignore[no-untyped-def]
    """Replace each parent by the number of its tree, from 0 by first member; how many there are."""
    count = 0
    for p in range(parent.size):
        if parent[p] == p:
            parent[p] = count
            count += 1
        else:
            # The parent comes first, and holds its number already.
            parent[p] = parent[parent[p]]
    return count


@numba.njit(cache=True, nogil=True)
def boundary_edges(components, values, first, lowest, fixed, sources, targets, weights):  # type: ignore[no-untyped-def]
    """List the edges of one axis between different components, and count them.

    Those up to `lowest` are left out, and those between two `fixed` components. With
    no room in `sources` they are only counted.
    """
    outer, length, inner = values.shape
    found = 0
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                a, b = components[start + j], components[start + inner + j]
                value = values[o, i + first, j]
                if a != b and value > lowest and not (fixed[a] and fixed[b]):
                    if sources.size:
                        # Adding 0 turns -0 into 0: they have to sort alike.
                        sources[found], targets[found] = a, b
                        weights[found] = value + np.float32(0)
                    found += 1
    return found


@numba.njit(cache=True, nogil=True)
def spanning_edges(count, sources, targets, order):  # type: ignore[no-untyped-def]
    """Return the edges, in the order given, that join what no earlier one has (Kruskal 1956)."""
    parent = np.arange(count)
    joining = np.empty(min(order.size, max(0, count - 1)), np.int64)
    found = 0
    for e in order:
        if _unite(parent, sources[e], targets[e]):
            joining[found] = e
            found += 1
    return joining[:found]


@numba.njit(cache=True, nogil=True)
def grow_owners(owners, sources, targets, order):  # type: ignore[no-untyped-def]
    """Hand owners on, 0 for none, over edges in the order given; never join two owned trees."""
    parent = np.arange(owners.size)
    for e in order:
        a, b = root_of(parent, sources[e]), root_of(parent, targets[e])
        if a != b and (owners[a] == 0 or owners[b] == 0):
            owner = max(owners[a], owners[b])
            parent[max(a, b)] = min(a, b)
            owners[min(a, b)] = owner
    for c in range(owners.size):
        owners[c] = owners[root_of(parent, c)]


@numba.njit(cache=True, nogil=True)
def number_owners(owners):  # type: ignore[no-untyped-def]
    """Return numbers from 1 in place of owners, in the order they turn up; 0 stays."""
    known = np.zeros(owners.size + 1, np.uint32)
    numbers = np.empty(owners.size, np.uint32)
    count = 0
    for c in range(owners.size):
        owner = owners[c]
        if owner > 0 and known[owner] == 0:
            count += 1
            known[owner] = count
        numbers[c] = known[owner]
    return numbers
