"""Compiled agglomeration: merge the two regions with the best score until none are left.

What two edges become when regions merge lies between them. So if two regions are each the best
partner of the other they stay so until they are merged, whatever is merged elsewhere, and any
order that keeps to this comes to the same tree. Regions with few neighbours are merged first,
where they lie, along chains of best partners [1]_: that reads memory in its order, and takes
no heap. Those that are left are merged in the order of the scores.

A merge hands the edges of the region with fewer of them to the other: so an edge is handed
on at most log N times, and the whole takes O(E log E).

References
----------
.. [1] F. Murtagh, "A survey of recent advances in hierarchical clustering algorithms", The
   Computer Journal 26 (1983), 354-359.
"""

from __future__ import annotations

import heapq

import numba
import numpy as np

from napari_implicitseg.hierarchy._merging_edges import (
    NONE,
    combine,
    list_edges,
    make_nodes,
    score_edges,
)

__all__ = ["merge_chains", "merge_rest"]

# States of a region while chains are merged: it may merge, has merged into another one, or
# waits for one with many neighbours.
_FREE, _GONE, _WAITS = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def _best_edge(edges, nodes, a):  # type: ignore[no-untyped-def]
    """Return the edge of a region that has the best score, of equal ones the first; or none.

    Edges that are gone are taken out of its list.
    """
    best, top = NONE, 0.0
    previous, place = NONE, nodes[a].head
    seed = nodes[a].seed
    while place >= 0:
        edge, side = edges[place >> 1], place & 1
        following = edge.after_second if side else edge.after_first
        if edge.version < 0:
            _relink(edges, nodes, a, previous, following)
        else:
            other = nodes[edge.first if side else edge.second].seed
            if (best < 0 or edge.score > top or (edge.score == top and place >> 1 < best)) and (
                seed == 0 or other == 0 or seed == other
            ):
                best, top = np.int32(place >> 1), edge.score
            previous = place
        place = following
    return best


@numba.njit(cache=True, nogil=True)
def _relink(edges, nodes, a, previous, following):  # type: ignore[no-untyped-def]
    """Let a place follow another one in the list of a region, or be the first of it."""
    if previous < 0:
        nodes[a].head = following
    elif previous & 1:
        edges[previous >> 1].after_second = following
    else:
        edges[previous >> 1].after_first = following


@numba.njit(cache=True, nogil=True)
def _mark(edges, nodes, a, on):  # type: ignore[no-untyped-def]
    """Mark the neighbours of a region by the edge that leads there; or take the marks away."""
    place = nodes[a].head
    while place >= 0:
        edge, side = edges[place >> 1], place & 1
        if edge.version >= 0:
            nodes[edge.first if side else edge.second].mark = place >> 1 if on else NONE
        place = edge.after_second if side else edge.after_first


@numba.njit(cache=True, nogil=True)
def _take(edges, nodes, place, b):  # type: ignore[no-untyped-def]
    """Put an edge at the front of the list of a region, which becomes its end on that side."""
    edge = edges[place >> 1]
    if place & 1:
        edge.second, edge.after_second = b, nodes[b].head
    else:
        edge.first, edge.after_first = b, nodes[b].head
    nodes[b].head = place


@numba.njit(cache=True, nogil=True)
def _hand_over(edges, nodes, a, b, histograms, mode, share):  # type: ignore[no-untyped-def]
    """Give the edges of one region to another one; of two to a third region one is left."""
    _mark(edges, nodes, b, True)
    place = nodes[a].head
    while place >= 0:
        f, side = place >> 1, place & 1
        edge = edges[f]
        following = edge.after_second if side else edge.after_first
        if edge.version >= 0:
            other = nodes[edge.first if side else edge.second]
            g = other.mark
            if g < 0:
                _take(edges, nodes, place, b)
                nodes[b].degree += 1
            else:
                other.degree -= 1
                if combine(edges, f, g, histograms, mode, share) == f:
                    other.mark = f
                    _take(edges, nodes, place, b)
        place = following
    _mark(edges, nodes, b, False)


@numba.njit(cache=True, nogil=True)
def _joined(nodes, a, b, name, sons):  # type: ignore[no-untyped-def]
    """Make region b a node of the tree with both as its sons."""
    sons[0], sons[1] = nodes[a].name, nodes[b].name
    nodes[b].name = name
    nodes[b].seed = max(nodes[a].seed, nodes[b].seed)
    nodes[a].degree -= 1
    nodes[b].degree -= 1
    nodes[a].state = _GONE


@numba.njit(cache=True, nogil=True)
def merge_chains(edges, histograms, mode, share, seeds, few, sons, scores):  # type: ignore[no-untyped-def]
    """Merge regions that are each other's best partner, as long as they have few neighbours.

    Parameters
    ----------
    edges : ndarray of EDGE, shape (E,)
        Ends are regions, 0 to N - 1; no edge twice. Without scores, and versions 0. Is changed.
    histograms : ndarray of uint32, shape (E, B)
        Is changed; of no size unless it is what counts.
    mode : int
        `MEAN`, `MAXIMUM` or `QUANTILE` of the affinities between two regions.
    share : float
        Of the quantile.
    seeds : ndarray of int64, shape (N,)
        From 0. Regions with different seeds other than 0 are never merged.
    few : int
        Regions with more neighbours are left: their edges would be gone through too often.
    sons : ndarray of int64, shape (N - 1, 2)
        Is written: merge k makes node N + k of two others.
    scores : ndarray of float64, shape (N - 1,)
        Is written. No merge has a higher score than one that made a part of it.

    Returns
    -------
    merges : int
    nodes : ndarray of NODE, shape (N,)
        Regions, those that are gone included.
    """
    score_edges(edges, histograms, mode, share)
    nodes = make_nodes(seeds)
    list_edges(edges, nodes)
    merges, chain = 0, np.empty(64, np.int32)
    for start in range(nodes.size):
        chain[0], top = start, 0
        while top >= 0:
            a, e = chain[top], NONE
            if nodes[a].state == _FREE and nodes[a].degree <= few:
                e = _best_edge(edges, nodes, a)
            if e < 0:
                # All that lead here wait until it merges, and it does not before the others.
                for k in range(top + 1):
                    if nodes[chain[k]].state == _FREE:
                        nodes[chain[k]].state = _WAITS
                break
            b = edges[e].second if edges[e].first == a else edges[e].first
            if top == 0 or b != chain[top - 1]:
                top += 1
                if top == chain.size:
                    chain = np.append(chain, np.empty(chain.size, np.int32))
                chain[top] = b
                continue
            if nodes[a].degree > nodes[b].degree:
                a, b = b, a
            edges[e].version = NONE
            scores[merges] = edges[e].score
            _joined(nodes, a, b, nodes.size + merges, sons[merges])
            _hand_over(edges, nodes, a, b, histograms, mode, share)
            merges += 1
            top -= 2
            if top < 0:
                top, chain[0] = 0, b
    return merges, nodes


@numba.njit(cache=True, nogil=True)
def _slot(table, edges, a, b):  # type: ignore[no-untyped-def]
    """Place of the edge of two regions in the hash table, or the free place for it."""
    low, high = min(a, b), max(a, b)
    mask = np.uint64(table.size - 1)
    mixed = np.uint64(low) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(high)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    i = (mixed ^ (mixed >> np.uint64(32))) & mask
    while table[i] >= 0:
        edge = edges[table[i]]
        if min(edge.first, edge.second) == low and max(edge.first, edge.second) == high:
            break
        i = (i + np.uint64(1)) & mask
    return i


@numba.njit(cache=True, nogil=True)
def _rebuilt(size, edges):  # type: ignore[no-untyped-def]
    """Return a hash table of the edges that are left, and how many these are."""
    table, used = np.full(size, NONE), 0
    for e in range(edges.size):
        if edges[e].version >= 0:
            table[_slot(table, edges, edges[e].first, edges[e].second)] = e
            used += 1
    return table, used


@numba.njit(cache=True, nogil=True)
def _heap(edges):  # type: ignore[no-untyped-def]
    """Return a heap of score, number and version of each edge, the best first."""
    heap = [(-edges[e].score, np.int32(e), edges[e].version) for e in range(edges.size)]
    heapq.heapify(heap)
    return heap


@numba.njit(cache=True, nogil=True)
def merge_rest(edges, histograms, mode, share, nodes, merges, number, sons, scores):  # type: ignore[no-untyped-def]
    """Merge the regions that are left, best score first; return how many merges there are.

    Parameters
    ----------
    edges : ndarray of EDGE, shape (E,)
        With scores; ends are places in `nodes`. Is changed.
    histograms, mode, share, sons, scores
        As of `merge_chains`.
    nodes : ndarray of NODE
        Regions that are left. Their lists are made anew.
    merges : int
        How many there are already.
    number : int
        Of the regions that there were.

    Notes
    -----
    Of edges with one score the first comes first.
    """
    for n in range(nodes.size):
        nodes[n].degree, nodes[n].head = 0, NONE
    list_edges(edges, nodes)
    size = 16
    while size < 2 * edges.size:
        size *= 2
    table, used = _rebuilt(size, edges)
    heap = _heap(edges)
    while heap:
        _, e, made = heapq.heappop(heap)
        edge = edges[e]
        if made != edge.version:
            continue
        edge.version = NONE
        a, b = edge.first, edge.second
        if nodes[a].seed and nodes[b].seed and nodes[a].seed != nodes[b].seed:
            continue
        if nodes[a].degree > nodes[b].degree:
            a, b = b, a
        scores[merges] = edge.score
        _joined(nodes, a, b, number + merges, sons[merges])
        nodes[b].degree += nodes[a].degree
        merges += 1
        place = nodes[a].head
        while place >= 0:
            f, side = np.int32(place >> 1), place & 1
            moved = edges[f]
            following = moved.after_second if side else moved.after_first
            if moved.version >= 0:
                i = _slot(table, edges, b, moved.first if side else moved.second)
                g = table[i]
                kept = f
                if g >= 0 and edges[g].version >= 0:
                    kept = combine(edges, f, g, histograms, mode, share)
                    heapq.heappush(heap, (-edges[kept].score, kept, edges[kept].version))
                if kept == f:
                    used += g < 0
                    table[i] = f
                    _take(edges, nodes, place, b)
                    if 4 * used > 3 * table.size:
                        table, used = _rebuilt(table.size, edges)
            place = following
    return merges
