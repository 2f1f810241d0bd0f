"""Pairs joined by the edges of a spanning tree whose nodes have labels and weights.

Joining sets A and B joins L_A L_B pairs of labelled voxels, of which p have one
label. Written into a line so that each set of the tree is an interval, two nodes
are joined by the latest join that lies between them. So for the nodes of one
label, in their order on the line, a stack of falling walls gives p for all joins.
"""

from __future__ import annotations

import numba
import numpy as np

from napari_implicitseg.affinities._edges import find, name_of

__all__ = ["join_nodes", "pairs_of_one_label"]


@numba.njit(cache=True, nogil=True)
def join_nodes(  # type: ignore[no-untyped-def]
    edges,
    count,
    nodes,
    steps,
    voxel_bits,
    parent,
    sums,
    tails,
    follow,
    walls,
    names,
    products,
    joins,
):
    """Kruskal's algorithm over nodes; goes on from where it stopped.

    Nodes with a label come first, C of all M. Only they are on the line: joins with sets without
    a label join no pairs.

    Parameters
    ----------
    edges : ndarray of int64
        The first `count` are in order.
    nodes : ndarray of int32, shape (N,)
        Node of each voxel.
    steps : ndarray of int64, shape (K,)
    parent : ndarray of int32, shape (M,)
        Roots hold minus the number of nodes of their set, and have a label if any node of it has.
    sums : ndarray of int64, shape (C,)
        Labelled voxels of the set of a root.
    tails, follow : ndarray of int32, shape (C,)
        Last node on the line of the set of a root; the node after each, and the first one after
        the last.
    walls : ndarray of int32, shape (C,)
        The join between a node and the next one.
    names, products : ndarray of int64, shape (C,)
        Take the index k * N + p of the edge, and the pairs it joins.
    joins : int
        Joins so far.

    Returns
    -------
    int
        Joins by now.
    """
    size, labelled = nodes.size, sums.size
    for i in range(count):
        k, v = name_of(edges[i], voxel_bits)
        a = np.int64(find(parent, nodes[v]))
        b = np.int64(find(parent, nodes[v + steps[k]]))
        if a == b:
            continue
        if a >= labelled or (b < labelled and parent[a] > parent[b]):
            a, b = b, a
        if a < labelled and b < labelled:
            names[joins] = k * size + v
            products[joins] = sums[a] * sums[b]
            sums[a] += sums[b]
            end = tails[a]
            walls[end] = joins
            tails[a] = tails[b]
            follow[end], follow[tails[b]] = follow[tails[b]], follow[end]
            joins += 1
        elif a >= labelled and parent[a] > parent[b]:
            a, b = b, a
        parent[a] += parent[b]
        parent[b] = a
    return joins


@numba.njit(inline="always")
def _latest(places, walls, height, place):  # type: ignore[no-untyped-def]
    """Wall of the first entry of a stack that stands at a place or after it."""
    low, high = 0, height - 1
    while low < high:
        middle = (low + high) // 2
        if places[middle] >= place:
            high = middle
        else:
            low = middle + 1
    return walls[low]


@numba.njit(inline="always")
def _merge(top, wall, below, fences, weights, pairs):  # type: ignore[no-untyped-def]
    """Merge a stack's uppermost entries as long as what parts them is before a wall."""
    while below[top] >= 0 and fences[top] < wall:
        under = below[top]
        pairs[fences[top]] += weights[under] * weights[top]
        weights[under] += weights[top]
        top = under
    return top


@numba.njit(cache=True, nogil=True)
def pairs_of_one_label(  # type: ignore[no-untyped-def]
    labels, count, weights, parent, tails, follow, walls, joins
):
    """Count the pairs of one label that each join of `join_nodes` joins.

    Parameters
    ----------
    labels : ndarray of int32, shape (C,)
        Label of each node, 1 to `count`.
    count : int
    weights : ndarray of int64, shape (C,)
        Voxels of each node. Used up.
    parent, tails, follow, walls : ndarray
        As `join_nodes` leaves them.
    joins : int

    Returns
    -------
    ndarray of int64, shape (joins + 1,)
        The last one is of no meaning.
    """
    pairs = np.zeros(joins + 1, np.int64)
    # Per label: the uppermost node of its stack, and where on the line it is.
    tops, seen = np.full(count + 1, -1, np.int32), np.zeros(count + 1, np.int64)
    # Per node: the one below it, and the latest join between them.
    below, fences = np.empty(labels.size, np.int32), np.empty(labels.size, np.int32)
    # Walls so far that no later one is higher than, and where they are.
    high, places = np.empty(labels.size, np.int64), np.empty(labels.size, np.int64)
    height, place = 0, 0
    for root in range(labels.size):
        if parent[root] >= 0:
            continue
        node = follow[tails[root]]
        while True:
            label = labels[node]
            top = tops[label]
            below[node] = -1
            if top >= 0:
                wall = _latest(places, high, height, seen[label])
                below[node] = _merge(top, wall, below, fences, weights, pairs)
                fences[node] = wall
            tops[label] = node
            seen[label] = place
            last = node == tails[root]
            # Between trees, where nothing is ever joined.
            wall = joins if last else np.int64(walls[node])
            while height > 0 and high[height - 1] <= wall:
                height -= 1
            high[height], places[height] = wall, place
            height += 1
            place += 1
            if last:
                break
            node = follow[node]
    for label in range(1, count + 1):
        if tops[label] >= 0:
            _merge(tops[label], joins, below, fences, weights, pairs)
    return pairs
