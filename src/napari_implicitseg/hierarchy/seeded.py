"""Cuts by seeds: scribbles of different ids never end up together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._lookups import paint, roots_up_to
from napari_implicitseg.hierarchy.cuts import joining_nodes
from napari_implicitseg.hierarchy.linkages import BINS, agglomerate
from napari_implicitseg.hierarchy.refine import face_pairs, fragment_boxes, split_fragments
from napari_implicitseg.hierarchy.region_graph import RegionGraph, region_graph
from napari_implicitseg.hierarchy.tree import AFFINITY_LINKAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy.tree import Hierarchy, Linkage

__all__ = [
    "LARGEST_ID",
    "SeededRegions",
    "checked_seeds",
    "contact_graph",
    "cut_by_seeds",
    "places_by_seed",
    "seed_regions",
    "seeded_labels",
    "seeded_lookup",
]

LARGEST_ID = np.iinfo(np.uint32).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeededRegions:
    """Fragments of which none holds two seeds.

    Attributes
    ----------
    fragments : ndarray of uint32, shape S
    graph : RegionGraph
    seeds : ndarray of int64, shape (N,)
        Seed of each fragment, 0 for none.
    """

    fragments: LabelArray
    graph: RegionGraph
    seeds: NDArray[np.int64]


def cut_by_seeds(hierarchy: Hierarchy, seeds: Any, threshold: float | None = None) -> LabelArray:
    """Segment a volume by seeds; see `Hierarchy.cut_with_seeds`."""
    places, ids = checked_seeds(seeds, hierarchy.fragments.shape)
    if threshold is not None and hierarchy.graph is None and hierarchy.affinities is None:
        raise InputError(
            "The hierarchy has neither affinities nor a region graph, which a threshold is for; "
            "leave it out."
        )
    regions = seed_regions(hierarchy, places, ids)
    lookup = seeded_lookup(regions, hierarchy.linkage, threshold, taken=ids)
    return paint(lookup, regions.fragments)


def checked_seeds(
    seeds: Any, shape: tuple[int, ...], what: str = "seeds"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of seeds, or of what else they are called, in C order and their ids.

    Raises
    ------
    InputError
        If they are no whole numbers of the volume's shape, negative, too large, or all 0.
    """
    try:
        values = np.asarray(seeds)
    except ValueError as error:
        raise InputError(f"The {what} are no array ({error}); give one of {shape}.") from error
    if values.dtype.kind not in "iub" or values.shape != tuple(shape):
        raise InputError(
            f"The {what} are {values.dtype} of shape {values.shape}; give whole numbers of shape "
            f"{tuple(shape)}, 0 where there are none."
        )
    places = np.flatnonzero(values)
    if not len(places):
        raise InputError(f"The {what} are 0 everywhere; paint at least one.")
    ids = values.reshape(-1)[places]
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > LARGEST_ID:
        raise InputError(f"The {what} range from {low} to {high}; use ids from 1 to 2**32 - 1.")
    return places, ids.astype(np.int64)


def seed_regions(
    hierarchy: Hierarchy, places: NDArray[np.int64], ids: NDArray[np.int64]
) -> SeededRegions:
    """Cut the fragments that hold seeds of several ids.

    Parameters
    ----------
    hierarchy : Hierarchy
    places, ids : ndarray of int64, shape (M,)
        Seed voxels in C order, and their ids. Those in fragment 0 do not count.

    Raises
    ------
    InputError
        If no seed lies in a fragment.
    """
    fragments, graph = hierarchy.fragments, contact_graph(hierarchy)
    hit = fragments.reshape(-1)[places].astype(np.int64)
    if not hit.any():
        raise InputError("No seed lies in a fragment; paint inside the objects.")
    pairs = np.unique(np.stack([hit, ids], axis=1)[hit > 0], axis=0)
    names, first, number = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    seeds = np.zeros(hierarchy.size, np.int64)
    seeds[names - 1] = pairs[first, 1]
    crowded = names[number > 1]
    if len(crowded):
        fragments = fragments.copy()
        boxes = fragment_boxes(fragments, hierarchy.size)
        own = places_by_seed(places, hit, ids, crowded)
        graph, _, parts = split_fragments(fragments, graph, hierarchy.affinities, boxes, own)
        seeds = np.concatenate([seeds, np.zeros(len(graph.sizes) - len(seeds), np.int64)])
        for by_seed in parts.values():
            for seed, part in by_seed.items():
                seeds[part - 1] = seed
    return SeededRegions(fragments=fragments, graph=graph, seeds=seeds)


def places_by_seed(
    places: NDArray[np.int64],
    hit: NDArray[np.int64],
    ids: NDArray[np.int64],
    wanted: NDArray[np.int64],
) -> dict[int, dict[int, NDArray[np.int64]]]:
    """Return the places of each seed in each of the fragments that are wanted.

    Parameters
    ----------
    places, hit, ids : ndarray of int64, shape (M,)
        Places of voxels, the fragments they are in, and the seeds they are of.
    wanted : ndarray of int64
        Fragments.
    """
    rows = np.flatnonzero(np.isin(hit, wanted))
    rows = rows[np.lexsort((ids[rows], hit[rows]))]
    keys = np.stack([hit[rows], ids[rows]], axis=1)
    starts = np.flatnonzero((np.diff(keys, axis=0, prepend=-1) != 0).any(axis=1))
    out: dict[int, dict[int, NDArray[np.int64]]] = {}
    parts = np.split(places[rows], starts[1:])
    for (fragment, seed), part in zip(keys[starts].tolist(), parts, strict=True):
        out.setdefault(fragment, {})[seed] = part
    return out


def seeded_lookup(
    regions: SeededRegions,
    linkage: Linkage,
    threshold: float | None,
    *,
    taken: NDArray[np.int64] | None = None,
) -> NDArray[np.uint32]:
    """Label of each fragment, 0 first: its seed's id, or a new one, or 0 for none.

    Parameters
    ----------
    regions : SeededRegions
    linkage, threshold
        See `seeded_labels`.
    taken : ndarray of int64, optional
        Ids that objects without seeds must not get; by default those of the regions.
    """
    labels = seeded_labels(regions.graph, regions.seeds, linkage, threshold, taken=taken)
    return np.concatenate([[0], labels]).astype(np.uint32)


def seeded_labels(
    graph: RegionGraph,
    seeds: NDArray[np.int64],
    linkage: Linkage,
    threshold: float | None = None,
    *,
    taken: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Label of each node of a graph: its seed's id, or a new one, or 0 for none.

    Regions merge by affinity, best first, but for those of different seeds.

    Parameters
    ----------
    graph : RegionGraph
    seeds : ndarray of int64, shape (N,)
        0 for none.
    linkage : str
        If it is none by affinity, or the graph does not have what it needs, the mean counts.
    threshold : float, optional
        See `Hierarchy.cut_with_seeds`.
    taken : ndarray of int64, optional
        Ids that objects without seeds must not get; by default the seeds.
    """
    usable = linkage in AFFINITY_LINKAGES and _has_statistics(graph, linkage)
    kind: Linkage = linkage if usable else "mean"
    parents, altitudes = agglomerate(graph, kind, seeds=seeds)
    level = math.inf if threshold is None else 1 - threshold
    roots = np.empty(len(parents), np.int64)
    roots_up_to(parents, altitudes, level, False, roots)
    root_of = roots[: len(seeds)]
    label_of = np.zeros(len(parents), np.int64)
    np.maximum.at(label_of, root_of, seeds)
    if threshold is not None:
        _, first = np.unique(root_of, return_index=True)
        free = root_of[np.sort(first)]
        free = free[label_of[free] == 0]
        label_of[free] = _new_ids(len(free), seeds if taken is None else taken)
    return label_of[root_of]


def _new_ids(number: int, taken: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids after the largest one; if too few are left there, the first free ones."""
    highest = int(taken.max(initial=0))
    if highest + number <= LARGEST_ID:
        return np.arange(highest + 1, highest + 1 + number)
    return np.setdiff1d(np.arange(1, number + len(taken) + 1), taken)[:number]


def contact_graph(hierarchy: Hierarchy) -> RegionGraph:
    """Return the region graph of a hierarchy, or one made from its affinities or its tree.

    The tree says at which altitude two fragments that touch become one; the affinity of all their
    contact is 1 minus that, scaled if altitudes go beyond 1.
    """
    if hierarchy.graph is not None:
        return hierarchy.graph
    fragments = hierarchy.fragments
    if hierarchy.affinities is not None:
        bins = BINS if hierarchy.linkage == "quantile" else 0
        return region_graph(hierarchy.affinities, fragments, bins=bins)
    faces = face_pairs(fragments)
    altitudes = hierarchy.altitudes[joining_nodes(hierarchy, faces.pairs - 1)]
    joined = np.isfinite(altitudes)
    affinities = 1 - altitudes[joined] / altitudes[joined].max(initial=1.0)
    return RegionGraph(
        sizes=np.bincount(fragments.reshape(-1), minlength=hierarchy.size + 1)[1:],
        edges=(faces.pairs[joined] - 1).astype(np.int32),
        counts=faces.counts[joined],
        sums=affinities * faces.counts[joined],
        maxima=affinities.astype(np.float32),
        places=faces.places[joined],
    )


def _has_statistics(graph: RegionGraph, linkage: Linkage) -> bool:
    """Whether a graph has what a linkage needs."""
    return linkage != "quantile" or graph.histograms is not None
