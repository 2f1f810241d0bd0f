"""Compiled agglomeration: merge the two regions with the best score until none are left.

The regions' edges are kept in linked lists, and found by a hash of their two ends. A
merge hands the edges of the region with fewer of them to the other: so an edge is
handed on at most log N times, and the whole takes O(E log E).
"""

from __future__ import annotations

import heapq

import numba
import numpy as np

__all__ = ["MAXIMUM", "MEAN", "QUANTILE", "merge_regions"]

MEAN, MAXIMUM, QUANTILE = 0, 1, 2

_EMPTY = np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _quantile(histogram, share):  # type: ignore[no-untyped-def]
    """Quantile of values in equal bins from 0 to 1, as `RegionGraph.quantiles` finds it."""
    total = np.int64(0)
    for count in histogram:
        total += count
    # But for rounding: 0.7 of 10 is a little more than 7.
    rank, below = share * total * (1 - 1e-12), np.int64(0)
    for b in range(histogram.size):
        if histogram[b] and below + histogram[b] >= rank:
            inside = (share * total - below) / histogram[b]
            return (b + min(inside, 1.0)) / histogram.size
        below += histogram[b]
    return 1.0


@numba.njit(cache=True, nogil=True)
def _score(e, mode, share, counts, sums, maxima, histograms):  # type: ignore[no-untyped-def]
    """Score of an edge, larger is merged first."""
    if mode == MAXIMUM:
        return np.float64(maxima[e])
    if mode == QUANTILE:
        return _quantile(histograms[e], share)
    return sums[e] / counts[e]


@numba.njit(cache=True, nogil=True)
def _slot(table, keys, a, b, ends):  # type: ignore[no-untyped-def]
    """Place of the edge of two regions in the hash table, or the free place for it."""
    low, high = min(a, b), max(a, b)
    mask = np.uint64(table.size - 1)
    mixed = np.uint64(low) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(high)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    i = (mixed ^ (mixed >> np.uint64(32))) & mask
    key = np.int64(low) * ends + np.int64(high)
    while table[i] >= 0 and keys[i] != key:
        i = (i + np.uint64(1)) & mask
    keys[i] = key
    return i


@numba.njit(cache=True, nogil=True)
def _rebuilt(size, first, second, alive, ends):  # type: ignore[no-untyped-def]
    """Return a hash table of the edges that are left."""
    table, keys = np.full(size, _EMPTY), np.empty(size, np.int64)
    used = 0
    for e in range(first.size):
        if alive[e]:
            table[_slot(table, keys, first[e], second[e], ends)] = e
            used += 1
    return table, keys, used


@numba.njit(cache=True, nogil=True)
def _listed(first, second, number):  # type: ignore[no-untyped-def]
    """Return the lists of the edges of each region, and how long they are.

    Link 2 e + side is that of edge e in the list of its first or second end.
    """
    head, link = np.full(number, _EMPTY), np.full(2 * first.size, _EMPTY)
    degree = np.zeros(number, np.int64)
    for e in range(first.size):
        for side in range(2):
            end = first[e] if side == 0 else second[e]
            link[2 * e + side] = head[end]
            head[end] = 2 * e + side
            degree[end] += 1
    return head, link, degree


@numba.njit(cache=True, nogil=True)
def merge_regions(  # type: ignore[no-untyped-def]
    edges, counts, sums, maxima, histograms, mode, share, seeds, parents, scores
):
    """Merge regions, best score first; return how many merges there were.

    Parameters
    ----------
    edges : ndarray of int32, shape (E, 2)
        Nodes, 0 to N - 1; no edge twice.
    counts, sums : ndarray of float64, shape (E,)
        Are changed.
    maxima : ndarray of float32, shape (E,)
        Is changed; of no size unless it is what counts.
    histograms : ndarray of int64, shape (E, B)
        Is changed; of no size unless it is what counts.
    mode : int
        `MEAN`, `MAXIMUM` or `QUANTILE` of the affinities between two regions.
    share : float
        Of the quantile.
    seeds : ndarray of int64, shape (N,)
        From 0. Regions with different seeds other than 0 are never merged.
    parents : ndarray of int64, shape (2 N - 1,)
        Is written: the parent of each node. Merge k makes node N + k; roots are their own parents.
    scores : ndarray of float64, shape (N - 1,)
        Is written: the score of each merge. They fall, or stay.

    Notes
    -----
    Of edges with one score the first comes first. What two edges become lies between them, so that
    scores would never rise but for rounding, which is taken off.
    """
    number = seeds.size
    ends = np.int64(number)
    for node in range(parents.size):
        parents[node] = node
    first, second = edges[:, 0].copy(), edges[:, 1].copy()
    alive, version = np.ones(first.size, np.bool_), np.zeros(first.size, np.int32)
    seed, node_of = seeds.copy(), np.arange(number)
    size = 16
    while size < 4 * first.size:
        size *= 2
    table, keys, used = _rebuilt(size, first, second, alive, ends)
    head, link, degree = _listed(first, second, number)
    heap = [(0.0, np.int64(0), np.int32(0)) for _ in range(0)]
    for edge in range(first.size):
        score = _score(edge, mode, share, counts, sums, maxima, histograms)
        heap.append((-score, np.int64(edge), np.int32(0)))
    heapq.heapify(heap)
    merges, last = 0, np.inf
    while heap:
        key, e, made = heapq.heappop(heap)
        if not alive[e] or made != version[e]:
            continue
        a, b = np.int64(first[e]), np.int64(second[e])
        alive[e] = False
        if seed[a] and seed[b] and seed[a] != seed[b]:
            continue
        if degree[a] > degree[b]:
            a, b = b, a
        node = number + merges
        parents[node_of[a]], parents[node_of[b]] = node, node
        node_of[b], last = node, min(last, -key)
        scores[merges] = last
        seed[b] = max(seed[a], seed[b])
        degree[b] += degree[a]
        merges += 1
        place = head[a]
        while place >= 0:
            following, f = link[place], place // 2
            if alive[f]:
                other = second[f] if place % 2 == 0 else first[f]
                i = _slot(table, keys, b, other, ends)
                g = table[i]
                if g >= 0 and alive[g]:
                    alive[f] = False
                    counts[g] += counts[f]
                    sums[g] += sums[f]
                    if mode == MAXIMUM:
                        maxima[g] = max(maxima[g], maxima[f])
                    elif mode == QUANTILE:
                        histograms[g] += histograms[f]
                    version[g] += np.int32(1)
                    score = _score(g, mode, share, counts, sums, maxima, histograms)
                    heapq.heappush(heap, (-score, g, version[g]))
                else:
                    used += g < 0
                    table[i] = f
                    if place % 2 == 0:
                        first[f] = b
                    else:
                        second[f] = b
                    link[place] = head[b]
                    head[b] = place
                    if 2 * used > table.size:
                        table, keys, used = _rebuilt(table.size, first, second, alive, ends)
            place = following
    return merges
