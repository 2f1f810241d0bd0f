"""Edges between regions that merge: what is known of each, their lists, their scores.

What belongs together lies together: merges come in no order that a cache could foresee.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "EDGE",
    "MAXIMUM",
    "MEAN",
    "NODE",
    "NONE",
    "QUANTILE",
    "combine",
    "list_edges",
    "make_nodes",
    "score_edges",
]

MEAN, MAXIMUM, QUANTILE = 0, 1, 2
"""What the score of an edge is, of the affinities between two regions."""

EDGE = np.dtype(
    [
        ("sum", np.float64),
        ("count", np.float64),
        ("score", np.float64),
        ("first", np.int32),
        ("second", np.int32),
        ("after_first", np.int32),
        ("after_second", np.int32),
        ("version", np.int32),
    ],
    align=True,
)
"""An edge between the regions `first` and `second`.

`sum` and `count` are those of the affinities; for `MAXIMUM` the sum is the largest. The place
2 e + side in a list is that of edge e in the list of its first or second end; `after_first` and
`after_second` are the places that follow. `version` counts its scores, and is -1 once it is gone.
"""
NODE = np.dtype(
    [
        ("name", np.int64),
        ("seed", np.int64),
        ("degree", np.int32),
        ("head", np.int32),
        ("mark", np.int32),
        ("state", np.int32),
    ],
    align=True,
)
"""A region: its node in the tree, its seed or 0, its edges and the first place in their list.

`mark` and `state` are for the use of kernels.
"""
NONE = np.int32(-1)


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
def _score(edges, e, histograms, mode, share):  # type: ignore[no-untyped-def]
    """Score of an edge; the larger is merged first."""
    if mode == MAXIMUM:
        return edges[e].sum
    if mode == QUANTILE:
        return _quantile(histograms[e], share)
    return edges[e].sum / edges[e].count


@numba.njit(cache=True, nogil=True)
def score_edges(edges, histograms, mode, share):  # type: ignore[no-untyped-def]
    """Write the score of each edge."""
    for e in range(edges.size):
        edges[e].score = _score(edges, e, histograms, mode, share)


@numba.njit(cache=True, nogil=True)
def combine(edges, e, f, histograms, mode, share):  # type: ignore[no-untyped-def]
    """Make one of two edges, which lead between the same regions now; return which is left.

    It is the better one, of equal ones the first: so what they become never comes before both.
    """
    if edges[f].score > edges[e].score or (edges[f].score == edges[e].score and f < e):
        e, f = f, e
    better, other = edges[e], edges[f]
    low, high = other.score, better.score
    better.count += other.count
    if mode == MAXIMUM:
        better.sum = high
    else:
        better.sum += other.sum
    if mode == QUANTILE:
        histograms[e] += histograms[f]
    # But for rounding it is between them.
    better.score = min(max(_score(edges, e, histograms, mode, share), low), high)
    better.version += 1
    other.version = NONE
    return e


@numba.njit(cache=True, nogil=True)
def make_nodes(seeds):  # type: ignore[no-untyped-def]
    """Return regions without edges, each a node of its number."""
    nodes = np.empty(seeds.size, NODE)
    for n in range(seeds.size):
        nodes[n].name, nodes[n].seed, nodes[n].degree = n, seeds[n], 0
        nodes[n].head = nodes[n].mark = NONE
        nodes[n].state = 0
    return nodes


@numba.njit(cache=True, nogil=True)
def list_edges(edges, nodes):  # type: ignore[no-untyped-def]
    """Put each edge in the lists of its ends."""
    for e in range(edges.size - 1, -1, -1):
        edge = edges[e]
        first, second = nodes[edge.first], nodes[edge.second]
        edge.after_first, first.head = first.head, 2 * e
        edge.after_second, second.head = second.head, 2 * e + 1
        first.degree += 1
        second.degree += 1
