"""One hierarchy over the fragments of all blocks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.stitch import Contacts
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._lookups import number_roots, roots_up_to
from napari_implicitseg.hierarchy.linkages import agglomerate
from napari_implicitseg.hierarchy.region_graph import RegionGraph
from napari_implicitseg.hierarchy.tree import checked_affinity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy.tree import Linkage

__all__ = ["Merged", "merge_all"]

_MOST_FRAGMENTS = np.iinfo(np.int32).max
"""Edges name their ends by int32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """One hierarchy over the fragments of all blocks.

    Attributes
    ----------
    nodes : ndarray of int64, shape (N + 1,)
        Node of the tree for each fragment id; -1 for id 0.
    parents, altitudes : ndarray
        See `agglomerate`.
    """

    nodes: NDArray[np.int64]
    parents: NDArray[np.int64]
    altitudes: NDArray[np.float64]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def lookup(self, threshold: float) -> NDArray[np.uint32]:
        """Return the object of each fragment at a threshold, from 1; that of 0 is 0."""
        level = 1 - checked_affinity(threshold)
        roots = np.empty(len(self.altitudes), np.int64)
        roots_up_to(self.parents, self.altitudes, level, False, roots)
        labels = np.zeros((len(self.altitudes) + 1) // 2 + 1, np.uint32)
        if len(labels) > 1:
            number_roots(roots, labels)
        return labels[self.nodes + 1]


def merge_all(
    contacts: Contacts,
    joins: NDArray[np.int64],
    sizes: NDArray[np.int64],
    *,
    linkage: Linkage,
    quantile: float,
) -> Merged:
    """Merge the fragments of a volume by all their contacts.

    Parameters
    ----------
    contacts : Contacts
        Of all blocks.
    joins : ndarray of int64, shape (J, 2)
        Ids that are one fragment.
    sizes : ndarray of int64, shape (N,)
        Voxels of each id from 1.
    linkage, quantile
        See `agglomerate`.

    Returns
    -------
    Merged

    Raises
    ------
    InputError
        If there are too many fragments for one hierarchy.
    """
    if len(sizes) > _MOST_FRAGMENTS:
        raise InputError(
            f"The volume has {len(sizes)} fragments, more than the {_MOST_FRAGMENTS} that one "
            "hierarchy takes. Make fewer (--min-size), or segment parts of the volume."
        )
    nodes = _contracted(joins, len(sizes))
    count = int(nodes.max(initial=-1)) + 1
    ends = nodes[contacts.pairs] + 1
    apart = ends[:, 0] != ends[:, 1]
    moved = {name: values[apart] for name, values in contacts.arrays().items()}
    moved["pairs"] = np.sort(ends[apart], axis=1)
    whole = Contacts.added([Contacts(**moved)])
    touch = whole.counts > 0
    graph = RegionGraph(
        sizes=np.bincount(nodes[1:], sizes, minlength=count).astype(np.int64),
        edges=(whole.pairs[touch] - 1).astype(np.int32),
        counts=whole.counts[touch],
        sums=whole.sums[touch],
        maxima=whole.maxima[touch],
        places=np.zeros(int(touch.sum()), np.int64),
        histograms=whole.histograms[touch] if whole.histograms.shape[1] else None,
        far_counts=whole.far_counts[touch],
        far_sums=whole.far_sums[touch],
    )
    parents, altitudes = agglomerate(graph, linkage, quantile=quantile)
    return Merged(nodes=nodes, parents=parents, altitudes=altitudes)


def _contracted(joins: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return the node of each id from 0 to `number`, numbered by the first id; that of 0 is -1."""
    from scipy import sparse

    ones = np.ones(len(joins), np.bool_)
    matrix = sparse.coo_array((ones, (joins[:, 0], joins[:, 1])), (number + 1, number + 1))
    _, part = sparse.csgraph.connected_components(matrix, directed=False)
    _, first, places = np.unique(part, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    # Id 0 is a part of its own, and the first.
    nodes: NDArray[np.int64] = order[places] - 1
    return nodes
