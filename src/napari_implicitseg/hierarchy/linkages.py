"""The order in which regions merge: trees over a region graph.

`single`, `mean` and `quantile` merge the two regions first whose contact has the highest
affinity: its largest, its mean, or a quantile of it. `ward` goes by features of the
regions, and the watershed hierarchies by what a region is as a basin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._apart import Problem, tree_of_apart
from napari_implicitseg.hierarchy._lookups import join_roots
from napari_implicitseg.hierarchy._merging import merge_chains, merge_rest
from napari_implicitseg.hierarchy._merging_edges import EDGE, MAXIMUM, MEAN, QUANTILE
from napari_implicitseg.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.hierarchy.region_graph import RegionGraph
    from napari_implicitseg.hierarchy.tree import Linkage

__all__ = ["BINS", "agglomerate", "checked_quantile", "edges_of", "merge_order", "merged"]

BINS = 256
"""Of the histograms that quantiles come from."""

_MOST_EDGES = np.iinfo(np.int32).max // 2
"""Lists of edges number both ends of each by int32."""
_MODES = {"single": MAXIMUM, "mean": MEAN, "quantile": QUANTILE}
_BY_HIGRA = ("ward", "area", "dynamics", "volume")
# Neighbours of regions that are merged where they lie, before the heap. A tenth takes twice the
# time, in graphs of millions of edges.
_FEW = 1000
# Places in the lists of edges, two for each, are int32.
_MOST_EDGES = 2**30 - 1
# The largest number below 1.
_ALMOST_ONE = float(np.nextafter(1.0, 0.0))


def agglomerate(
    graph: RegionGraph,
    linkage: Linkage = "mean",
    *,
    quantile: float = 0.5,
    long_range: bool = True,
    seeds: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Merge regions by the affinity of their contacts, highest first.

    Parameters
    ----------
    graph : RegionGraph
    linkage : {"single", "mean", "quantile"}
        Of the affinities of all voxel edges between two regions, as they have become by then:
        the largest, the mean, or a quantile.
    quantile : float
        0 to 1; 0.5 is the median. From histograms, which the graph needs then.
    long_range : bool
        Whether long-range edges between regions in contact count in the mean as direct ones do.
    seeds : ndarray of int64, shape (N,), optional
        Regions with different seeds other than 0 are never merged, and so neither is what
        either has become.

    Returns
    -------
    parents : ndarray of int64, shape (2 N - 1,)
    altitudes : ndarray of float64, shape (2 N - 1,)
        0 of regions, 1 minus the affinity of merges, and infinite of those at the end which join
        what never touches, or must not be joined.

    Raises
    ------
    InputError
        If the linkage is none of these, the quantile out of range or without histograms, there
        is not one seed, from 0, for each region, or there are more edges than can be numbered.

    References
    ----------
    Mean and quantiles: J. Funke et al., "Large scale image segmentation with structured loss
    based deep learning for connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.
    """
    if linkage not in _MODES:
        raise InputError(f"linkage is {linkage!r}; choose one of {', '.join(_MODES)}.")
    if len(graph.edges) > _MOST_EDGES:
        raise InputError(
            f"The regions have {len(graph.edges)} edges, more than the {_MOST_EDGES} that are "
            "merged at a time. Make fewer fragments (min_size), or segment parts of the volume."
        )
    number, share = len(graph.sizes), checked_quantile(quantile)
    fixed = _checked_seeds(seeds, number)
    histograms: NDArray[np.uint32] = np.zeros((0, 0), np.uint32)
    if linkage == "quantile":
        if graph.histograms is None:
            raise InputError(f"The region graph has no histograms; build it with bins={BINS}.")
        histograms = graph.histograms.astype(np.uint32)
    edges = edges_of(graph, linkage, long_range)
    return merged(edges, histograms, _MODES[linkage], share, fixed)


def merged(
    edges: NDArray[Any],
    histograms: NDArray[np.uint32],
    mode: int,
    share: float,
    seeds: NDArray[np.int64],
    few: int = _FEW,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Merge regions by their edges, and number the merges by their scores.

    Parameters
    ----------
    edges : ndarray of EDGE, shape (E,)
        Is changed.
    histograms, mode, share, seeds, few
        As of `merge_chains`. Unless scores are equal the tree is the same for any `few`.
    """
    number = len(seeds)
    sons = np.empty((max(0, number - 1), 2), np.int64)
    scores = np.empty(len(sons))
    merges, nodes = merge_chains(edges, histograms, mode, share, seeds, few, sons, scores)
    left = np.flatnonzero(edges["version"] >= 0)
    if len(left):
        ends = np.concatenate([edges[side][left] for side in ("first", "second")])
        names, places = np.unique(ends, return_inverse=True)
        rest, nodes = edges[left], nodes[names]
        rest["first"], rest["second"] = places.reshape(2, -1)
        bins = histograms[left] if histograms.size else histograms
        merges = merge_rest(rest, bins, mode, share, nodes, merges, number, sons, scores)
    # A merge never has a higher score than its parts: of equal ones these come first.
    order = np.argsort(-scores[:merges], kind="stable")
    numbers = np.arange(number + merges)
    numbers[number + order] = number + np.arange(merges)
    parents = np.arange(max(0, 2 * number - 1))
    parents[numbers[sons[:merges]]] = numbers[number : number + merges, None]
    altitudes = np.zeros(len(parents))
    heights = 1 - scores[order]
    # The least affinity above 0 is above the threshold 0, too.
    heights[(scores[order] > 0) & (heights == 1)] = _ALMOST_ONE
    altitudes[number : number + merges] = heights
    altitudes[number + merges :] = math.inf
    join_roots(parents, number, merges)
    return parents, altitudes


def edges_of(graph: RegionGraph, linkage: Linkage, long_range: bool) -> NDArray[Any]:
    """Return the edges of a graph as the kernel takes them."""
    edges = np.zeros(len(graph.edges), EDGE)
    if len(edges) > _MOST_EDGES:
        raise InputError(
            f"The region graph has {len(edges)} edges; {_MOST_EDGES} are the most. Make larger "
            "fragments, by min_size, or segment in blocks."
        )
    edges["first"], edges["second"] = graph.edges.T
    edges["count"] = graph.counts
    edges["sum"] = graph.maxima if linkage == "single" else graph.sums
    far = (graph.far_counts, graph.far_sums)
    if long_range and linkage == "mean" and far[0] is not None and far[1] is not None:
        edges["count"] += far[0]
        edges["sum"] += far[1]
    return edges


def checked_quantile(value: Any) -> float:
    """Return a quantile, 0 to 1."""
    try:
        share = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(f"quantile is {value!r}; give a number from 0 to 1.")
    return share


def _checked_seeds(seeds: Any, number: int) -> NDArray[np.int64]:
    """Return the seed of each region, 0 for none."""
    if seeds is None:
        return np.zeros(number, np.int64)
    values = np.asarray(seeds)
    if values.shape != (number,) or values.dtype.kind not in "iub" or values.min(initial=0) < 0:
        raise InputError(
            f"The seeds of regions are {values.dtype} {values.shape}; give {number} whole numbers, "
            "0 for regions without any."
        )
    return values.astype(np.int64)


def merge_order(
    graph: RegionGraph,
    linkage: Linkage,
    *,
    features: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the hierarchy that higra makes of a region graph, where its parts are apart too.

    Parameters
    ----------
    graph : RegionGraph
    linkage : {"ward", "area", "dynamics", "volume"}
        Ward's, which joins those first whose union raises the variance of the features least; or
        the watershed hierarchies by area (voxels), dynamics, or volume of the basins.
    features : ndarray of float64, shape (N, F), optional
        Of each region; for Ward's.
    progress : Progress, optional
        Hears of it every now and then, and may cancel.

    Returns
    -------
    parents, altitudes
        As of `agglomerate`.

    Raises
    ------
    InputError
        If the linkage is none of these, or there are not the features of each region.

    References
    ----------
    J. Cousty and L. Najman, "Incremental algorithm for hierarchical minimum spanning forests and
    saliency of watershed cuts", ISMM 2011, 272-283.
    """
    if linkage not in _BY_HIGRA:
        raise InputError(f"linkage is {linkage!r}; choose one of {', '.join(_BY_HIGRA)}.")
    number = len(graph.sizes)
    if linkage != "ward":
        features = np.empty((number, 0))
    elif features is None or len(features) != number:
        raise InputError(
            f"Ward's linkage needs features of {number} regions; give an array (N, F)."
        )
    tell = progress or silent
    weights, sizes = 1 - graph.means, graph.sizes.astype(np.float64)
    parents, altitudes = np.arange(max(0, 2 * number - 1)), np.zeros(max(0, 2 * number - 1))
    merges = 0
    for nodes, edges, rows in _parts(graph):
        problem = Problem(linkage, sizes[nodes], edges, weights[rows], features[nodes])
        own, heights = tree_of_apart(problem, lambda: tell(merges / number, "Merging"))  # noqa: B023 - called at once
        names = np.concatenate([nodes, number + merges + np.arange(len(nodes) - 1)])
        parents[names] = names[own]
        altitudes[names] = heights
        merges += len(nodes) - 1
    altitudes[:number] = 0
    altitudes[number + merges :] = math.inf
    join_roots(parents, number, merges)
    return parents, altitudes


def _parts(
    graph: RegionGraph,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each part of several nodes: these, edges between their places, rows of the edges."""
    from scipy import sparse

    number, ends = len(graph.sizes), graph.edges.astype(np.int64)
    matrix = sparse.coo_array((np.ones(len(ends), np.bool_), ends.T), (number, number))
    count, part = sparse.csgraph.connected_components(matrix, directed=False)
    by_node, by_edge = np.argsort(part, kind="stable"), np.argsort(part[ends[:, 0]], kind="stable")
    node_ends = np.cumsum(np.bincount(part, minlength=count))
    edge_ends = np.cumsum(np.bincount(part[ends[:, 0]], minlength=count))
    place = np.empty(number, np.int64)
    for k in np.flatnonzero(np.diff(node_ends, prepend=0) > 1):
        nodes = by_node[node_ends[k - 1] if k else 0 : node_ends[k]]
        rows = by_edge[edge_ends[k - 1] if k else 0 : edge_ends[k]]
        place[nodes] = np.arange(len(nodes))
        yield nodes, place[ends[rows]], rows
