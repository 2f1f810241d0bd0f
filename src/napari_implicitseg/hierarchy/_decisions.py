"""The decisions of a cut that were closest, for a proofreader to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_implicitseg.hierarchy.cuts import joining_nodes, summed_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy._regions import Regions
    from napari_implicitseg.hierarchy._replay import State
    from napari_implicitseg.hierarchy.tree import Hierarchy

__all__ = ["Decision", "decisions"]


class Decision(NamedTuple):
    """Whether two regions are one object, and how close that was.

    Attributes
    ----------
    voxel : tuple of int
        Where they touch.
    objects : tuple of two int
        Ids of the objects on both sides; the same, if they are one.
    joined : bool
    score : float
        Affinity of the two, or the altitude of their merge.
    margin : float
        Distance of it from the threshold.
    """

    voxel: tuple[int, ...]
    objects: tuple[int, int]
    joined: bool
    score: float
    margin: float


def decisions(
    hierarchy: Hierarchy,
    regions: Regions,
    state: State,
    threshold: float,
    limit: int,
    min_size: int,
) -> list[Decision]:
    """List the decisions with the smallest margins; see `Proofreading.uncertain`."""
    graph = regions.graph
    pairs = regions.units_at(-1)[graph.edges]
    nodes = joining_nodes(hierarchy, pairs)
    altitudes = hierarchy.altitudes[nodes]
    level = hierarchy.level_of(threshold)
    joined = altitudes < level if hierarchy.by_affinity else altitudes <= level
    first, second = (state.lookup[graph.edges[:, side] + 1] for side in (0, 1))
    # Where an edit says otherwise, or has cut a fragment, it is decided.
    open_ = ((first == second) == joined) & (pairs[:, 0] != pairs[:, 1]) & np.isfinite(altitudes)
    open_ &= ~state.frozen[graph.edges].any(axis=1)
    if min_size > 1:
        open_ &= _lesser_sizes(hierarchy, regions)[nodes] >= min_size
    rows = np.flatnonzero(open_)
    margins = np.abs(altitudes[rows] - level)
    # Of the contacts of one merge the largest comes first, and stands for it.
    order = rows[np.lexsort((-graph.counts[rows], nodes[rows], margins))]
    _, start = np.unique(nodes[order], return_index=True)
    return [
        Decision(
            voxel=tuple(
                int(v) for v in np.unravel_index(graph.places[row], regions.fragments.shape)
            ),
            objects=(int(first[row]), int(second[row])),
            joined=bool(joined[row]),
            score=float(1 - altitudes[row] if hierarchy.by_affinity else altitudes[row]),
            margin=float(abs(altitudes[row] - level)),
        )
        for row in order[np.sort(start)[:limit]].tolist()
    ]


def _lesser_sizes(hierarchy: Hierarchy, regions: Regions) -> NDArray[np.float64]:
    """Voxels of the smaller of the two regions of each merge: shape (2 N - 1,)."""
    sizes = np.zeros(len(hierarchy.altitudes))
    np.add.at(sizes, regions.units_at(-1), regions.graph.sizes)
    sizes = summed_up(hierarchy, sizes)
    lesser = np.full(len(sizes), np.inf)
    np.minimum.at(lesser, hierarchy.parents[:-1], sizes[:-1])
    return lesser
