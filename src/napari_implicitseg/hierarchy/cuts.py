"""What else a hierarchy tells: its best partition, and how strong its borders are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import Axis
from napari_implicitseg.hierarchy._region_kernels import draw_borders
from napari_implicitseg.hierarchy.region_graph import find_contacts
from napari_implicitseg.hierarchy.tree import checked_affinity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy.region_graph import RegionGraph
    from napari_implicitseg.hierarchy.tree import Hierarchy

__all__ = ["edge_saliency", "joining_nodes", "optimal_labels", "saliency_map", "summed_up"]


def optimal_labels(hierarchy: Hierarchy, threshold: float = 0.5) -> NDArray[np.uint32]:
    """Label of each fragment in the partition into regions of the tree that costs least.

    Each voxel edge costs by how far its affinity is from the threshold, if it is treated
    wrongly: above it and between two objects, or below and inside one. That is the cost of the
    multicut (correlation clustering), minimised over all cuts of the tree, which need not be at
    one level.

    Parameters
    ----------
    hierarchy : Hierarchy
        With its region graph.
    threshold : float
        Affinity at which an edge costs nothing either way, 0 to 1.

    Returns
    -------
    ndarray of uint32, shape (N + 1,)
        As `Hierarchy.painted` takes it.

    Raises
    ------
    InputError
        If there is no region graph, or the threshold is out of range.

    References
    ----------
    L. Guigues, J. P. Cocquerez and H. Le Men, "Scale-sets image analysis", International Journal
    of Computer Vision 68 (2006), 289-317.
    """
    import higra as hg

    graph = _needed_graph(hierarchy)
    level = checked_affinity(threshold)
    gains = np.zeros(len(hierarchy.altitudes))
    joins = joining_nodes(hierarchy)
    np.add.at(gains, joins, graph.sums - level * graph.counts)
    gains[~np.isfinite(hierarchy.altitudes)] = -1.0  # What never touches stays apart.
    # What is gained by all edges inside a region: its own and those of the two it is made of.
    energy = -summed_up(hierarchy, gains)
    labels = hg.labelisation_optimal_cut_from_energy(hierarchy.tree, energy)
    lookup = np.zeros(hierarchy.size + 1, np.uint32)
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    lookup[1:] = order[numbers] + 1
    return lookup


def edge_saliency(hierarchy: Hierarchy) -> NDArray[np.float64]:
    """Altitude at which the two regions of each edge of the graph become one: shape (E,)."""
    saliency: NDArray[np.float64] = hierarchy.altitudes[joining_nodes(hierarchy)]
    return saliency


def saliency_map(hierarchy: Hierarchy) -> NDArray[np.float32]:
    """Image of the borders of a hierarchy: how long each stays as regions merge.

    Parameters
    ----------
    hierarchy : Hierarchy

    Returns
    -------
    ndarray of float32, shape S
        At each voxel the highest altitude of a border between two fragments, it and a neighbour
        along an axis; 0 where there is none, infinite where the two are never joined. Cutting at
        an affinity `t` leaves the borders from `1 - t` on, at an altitude those above it.

    References
    ----------
    L. Najman, "On the equivalence between hierarchical segmentations and ultrametric
    watersheds", Journal of Mathematical Imaging and Vision 40 (2011), 231-247.
    """
    fragments = hierarchy.fragments
    flat, out = fragments.reshape(-1), np.zeros(fragments.shape, np.float32)
    anywhere = np.broadcast_to(np.zeros(1, np.float32), fragments.shape)
    rows = [
        anywhere.reshape(-1, fragments.shape[axis], math.prod(fragments.shape[axis + 1 :]))
        for axis in range(fragments.ndim)
    ]
    starts, others = find_contacts(flat, [Axis(values, 0) for values in rows], hierarchy.size + 1)
    firsts = np.repeat(np.arange(-1, hierarchy.size), np.diff(starts))
    pairs = np.stack([firsts, others.astype(np.int64) - 1], axis=1)
    heights = hierarchy.altitudes[joining_nodes(hierarchy, pairs)].astype(np.float32)
    for values in rows:
        draw_borders(flat, values, starts, others, heights, out.reshape(-1))
    return out


def _needed_graph(hierarchy: Hierarchy) -> RegionGraph:
    """Region graph of a hierarchy."""
    if hierarchy.graph is None:
        raise InputError("The hierarchy has no region graph; make it by build_hierarchy.")
    return hierarchy.graph


def joining_nodes(
    hierarchy: Hierarchy, pairs: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.int64]:
    """Node at which the two ends of each edge become one.

    Parameters
    ----------
    hierarchy : Hierarchy
    pairs : ndarray of int, shape (E, 2), optional
        Leaves; by default the edges of the graph.

    Returns
    -------
    ndarray of int64, shape (E,)
    """
    ends = (_needed_graph(hierarchy).edges if pairs is None else pairs).astype(np.int64)
    if not len(ends):
        return np.zeros(0, np.int64)
    hierarchy.tree.lowest_common_ancestor_preprocess()
    nodes = hierarchy.tree.lowest_common_ancestor(ends[:, 0].copy(), ends[:, 1].copy())
    return np.asarray(nodes, np.int64)


def summed_up(hierarchy: Hierarchy, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the values of each node and of all below it."""
    import higra as hg

    sums: NDArray[np.float64] = hg.accumulate_and_add_sequential(
        hierarchy.tree, values, values[: hierarchy.size], hg.Accumulators.sum
    )
    return sums
