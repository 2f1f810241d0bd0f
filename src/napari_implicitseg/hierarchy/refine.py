"""Fragments cut into parts, where seeds of several objects lie in one.

Everything happens in the fragments' boxes: the contacts of the parts are counted again
there, those of all other fragments stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_implicitseg.affinities.ops import Affinities, edge_slices
from napari_implicitseg.hierarchy._components import direct_edges
from napari_implicitseg.hierarchy._lookups import bounding_boxes
from napari_implicitseg.hierarchy._territories import hand_out
from napari_implicitseg.hierarchy.region_graph import RegionGraph, region_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy._components import Axis

__all__ = [
    "FacePairs",
    "contracted",
    "face_pairs",
    "fragment_boxes",
    "split_fragments",
    "stacked",
    "taken",
    "touching",
]

_COLUMNS = ("counts", "sums", "maxima", "places", "histograms", "far_counts", "far_sums")


class FacePairs(NamedTuple):
    """Ids of which voxels are neighbours along an axis.

    Attributes
    ----------
    pairs : ndarray of int64, shape (M, 2)
        The smaller id first; rows in ascending order, none twice.
    counts : ndarray of int64, shape (M,)
        Faces between them.
    places : ndarray of int64, shape (M,)
        Place in C order of the earlier voxel of one of the faces.
    """

    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]
    places: NDArray[np.int64]


def face_pairs(labels: LabelArray) -> FacePairs:
    """Find the pairs of different ids, 0 left out, that are neighbours along an axis."""
    span = int(labels.max(initial=0)) + 1
    keys, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for axis in range(labels.ndim):
        here, there = edge_slices(labels.shape, tuple(-(a == axis) for a in range(labels.ndim)))
        a, b = labels[here], labels[there]
        faces = np.nonzero((a != b) & (a > 0) & (b > 0))
        ends = a[faces].astype(np.int64), b[faces].astype(np.int64)
        keys.append(np.minimum(*ends) * span + np.maximum(*ends))
        places.append(np.ravel_multi_index(faces, labels.shape))
    found, first, counts = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
    return FacePairs(
        np.stack(np.divmod(found, span), axis=1), counts, np.concatenate(places)[first]
    )


def fragment_boxes(fragments: LabelArray, number: int) -> NDArray[np.int64]:
    """Return the first index of each fragment along each axis, and the one after its last.

    Returns
    -------
    ndarray of int64, shape (N, 2, D)
    """
    low = np.full((number + 1, 3), np.iinfo(np.int64).max)
    high = np.full((number + 1, 3), -1)
    bounding_boxes(fragments.reshape((1,) * (3 - fragments.ndim) + fragments.shape), low, high)
    return np.stack([low, high + 1], axis=1)[1:, :, 3 - fragments.ndim :]


def split_fragments(
    fragments: LabelArray,
    graph: RegionGraph,
    affinities: Affinities | None,
    boxes: NDArray[np.int64],
    seeds: Mapping[int, Mapping[int, NDArray[np.int64]]],
) -> tuple[RegionGraph, NDArray[np.int64], dict[int, dict[int, int]]]:
    """Cut fragments into a part for each seed.

    Voxels go to a seed near by that no weak affinities lie before (`_territories.hand_out`).

    Parameters
    ----------
    fragments : ndarray of uint32, shape S
        C order; is changed. The first part keeps the id, others get new ones, N + 1 and so on.
    graph : RegionGraph
        Of the fragments.
    affinities : Affinities, optional
    boxes : ndarray of int64, shape (N, 2, D)
        Of `fragment_boxes`.
    seeds : mapping of int to mapping of int to ndarray of int64
        For each fragment that is cut the voxels of each seed in it, as places in C order; two
        seeds at least, and no voxel in both.

    Returns
    -------
    graph : RegionGraph
        Of the fragments as they are now.
    boxes : ndarray of int64, shape (N + new ones, 2, D)
    parts : dict of int to dict of int to int
        Part for each seed, by the fragment that was cut.
    """
    parts: dict[int, dict[int, int]] = {}
    if not seeds:
        return graph, boxes, parts
    number, sizes, all_boxes = len(boxes), [graph.sizes.copy()], [boxes.copy()]
    for fragment, own in seeds.items():
        ids = [fragment, *range(number + 1, number + len(own))]
        number += len(own) - 1
        corner = boxes[fragment - 1, 0]
        window = fragments[_slices(boxes[fragment - 1])]
        local = None if affinities is None else _direct_window(affinities, boxes[fragment - 1])
        _cut(window, corner, fragments.shape, local, list(own.values()), np.array(ids))
        found = fragment_boxes(_numbered(window, ids), len(ids)) + corner
        counted = np.array([np.count_nonzero(window == i) for i in ids])
        all_boxes[0][fragment - 1], sizes[0][fragment - 1] = found[0], counted[0]
        all_boxes.append(found[1:])
        sizes.append(counted[1:])
        parts[fragment] = dict(zip(own, ids, strict=True))
    new_boxes = np.concatenate(all_boxes)
    whole = replace(graph, sizes=np.concatenate(sizes))
    fresh = (
        _contacts_like(whole, fragments, boxes, parts)
        if affinities is None
        else _contacts(whole, fragments, affinities, boxes, parts)
    )
    kept = ~touching(graph, np.array([*parts]) - 1)
    return stacked(whole.sizes, [taken(whole, kept), fresh]), new_boxes, parts


def _slices(box: NDArray[np.int64]) -> tuple[slice, ...]:
    """Box as an index."""
    return tuple(slice(int(a), int(b)) for a, b in box.T)


def _numbered(window: LabelArray, ids: list[int]) -> LabelArray:
    """Ids of a list as numbers from 1, all others 0."""
    out = np.zeros(window.shape, np.uint32)
    for number, i in enumerate(ids, 1):
        out[window == i] = number
    return out


def _direct_window(affinities: Affinities, box: NDArray[np.int64]) -> Affinities:
    """Return the direct affinities of a window; edges that leave it do not exist there."""
    direct = [k for k, offset in enumerate(affinities.offsets) if sum(map(abs, offset)) == 1]
    inside = _slices(box)
    mask = affinities.mask
    return Affinities(
        data=np.stack([affinities.data[k][inside] for k in direct]),
        offsets=tuple(affinities.offsets[k] for k in direct),
        spacing=affinities.spacing,
        mask=None if mask is None else np.stack([mask[k][inside] for k in direct]),
    )


def _cut(
    window: LabelArray,
    corner: NDArray[np.int64],
    shape: tuple[int, ...],
    affinities: Affinities | None,
    seeds: list[NDArray[np.int64]],
    ids: NDArray[np.int64],
) -> None:
    """Cut the fragment `ids[0]` in a window of the fragments into one part for each seed."""
    mask = window == ids[0]
    owners = np.zeros(mask.shape, np.int64)
    for number, places in enumerate(seeds, 1):
        index = np.unravel_index(places, shape)
        owners[tuple(i - c for i, c in zip(index, corner, strict=True))] = number
    hand_out(owners, mask, *_ways(mask, affinities))
    owners[mask & (owners == 0)] = 1  # What no path leads to stays with the first.
    window[mask] = ids[owners[mask] - 1]


def _ways(
    mask: NDArray[np.bool_], affinities: Affinities | None
) -> tuple[list[Axis], tuple[float, ...]]:
    """Return the direct edges inside a mask, and the size of voxels; all alike if not known."""
    if affinities is None:
        offsets = tuple(map(tuple, (-np.eye(mask.ndim, dtype=int)).tolist()))
        data = np.ones((mask.ndim, *mask.shape), np.float32)
        affinities = Affinities(data=data, offsets=offsets, spacing=(1.0,) * mask.ndim)
    known = affinities.known.copy()
    for k, offset in enumerate(affinities.offsets):
        here, there = edge_slices(mask.shape, offset)
        known[k][here] &= mask[here] & mask[there]
    return direct_edges(replace(affinities, mask=known), None)[1], affinities.spacing


def _contacts(
    graph: RegionGraph,
    fragments: LabelArray,
    affinities: Affinities,
    boxes: NDArray[np.int64],
    parts: dict[int, dict[int, int]],
) -> RegionGraph:
    """Contacts of the parts, counted again; each in the window of the first fragment it is of."""
    reach = max(abs(step) for offset in affinities.offsets for step in offset)
    margin = np.array([[-reach], [reach]])
    cut = [(boxes[f - 1], np.array([*own.values()]) - 1) for f, own in parts.items()]
    room = [np.clip(box + margin, 0, fragments.shape) for box, _ in cut]
    wide = [(box, own) for box, (_, own) in zip(room, cut, strict=True)]
    if sum(int(np.prod(box[1] - box[0])) for box, _ in wide) > fragments.size:
        everything = np.array([[0] * fragments.ndim, fragments.shape])
        wide = [(everything, np.concatenate([own for _, own in cut]))]
    done: NDArray[np.int64] = np.zeros(0, np.int64)
    found = []
    for box, own in wide:
        local = _window_graph(graph, fragments, affinities, box)
        found.append(taken(local, touching(local, own) & ~touching(local, done)))
        done = np.concatenate([done, own])
    return stacked(graph.sizes, found)


def touching(graph: RegionGraph, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each edge has an end among some nodes."""
    first, second = (np.isin(graph.edges[:, side], nodes) for side in (0, 1))
    return first | second


def _window_graph(
    graph: RegionGraph, fragments: LabelArray, affinities: Affinities, box: NDArray[np.int64]
) -> RegionGraph:
    """Region graph of a window; nodes and places are those of the whole."""
    inside = _slices(box)
    window = fragments[inside]
    there = np.zeros(len(graph.sizes) + 1, np.bool_)
    there[window] = True
    nodes = np.flatnonzero(there[1:])
    there[0] = False
    mask = affinities.mask
    local = region_graph(
        replace(
            affinities,
            data=affinities.data[(slice(None), *inside)],
            mask=None if mask is None else mask[(slice(None), *inside)],
        ),
        np.cumsum(there, dtype=np.uint32)[window] * (window > 0),
        bins=0 if graph.histograms is None else graph.histograms.shape[1],
        long_range=graph.far_counts is not None,
    )
    index = np.unravel_index(local.places, window.shape)
    moved = tuple(i + int(c) for i, c in zip(index, box[0], strict=True))
    return replace(
        local,
        edges=nodes[local.edges].astype(np.int32),
        places=np.ravel_multi_index(moved, fragments.shape).astype(np.int64),
    )


def _contacts_like(
    graph: RegionGraph,
    fragments: LabelArray,
    boxes: NDArray[np.int64],
    parts: dict[int, dict[int, int]],
) -> RegionGraph:
    """Contacts of the parts where they touch what the whole did, with the same affinity."""
    nodes = np.arange(len(graph.sizes))
    for fragment, own in parts.items():
        nodes[np.array([*own.values()]) - 1] = fragment - 1
    found: dict[tuple[int, int], int] = {}
    for fragment, own in parts.items():
        box = boxes[fragment - 1]
        inside = _slices(np.stack([np.maximum(box[0] - 1, 0), box[1] + 1]))
        faces = face_pairs(fragments[inside])
        wanted = np.isin(faces.pairs, [*own.values()]).any(axis=1)
        pairs = map(tuple, (faces.pairs[wanted] - 1).tolist())
        found.update(zip(pairs, faces.counts[wanted].tolist(), strict=True))
    edges = np.array([*found], np.int64).reshape(-1, 2)
    rows = _rows_of(graph, nodes[edges])
    known = rows >= 0
    same = taken(graph, rows[known])
    counts = np.array([*found.values()], np.int64)[known]
    return replace(
        same, edges=edges[known].astype(np.int32), counts=counts, sums=same.means * counts
    )


def _rows_of(graph: RegionGraph, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of each pair of nodes among the edges of a graph, -1 for none."""
    span = len(graph.sizes)
    keys = graph.edges[:, 0].astype(np.int64) * span + graph.edges[:, 1]
    wanted = pairs.min(axis=1) * span + pairs.max(axis=1)
    order = np.argsort(keys)
    places = np.searchsorted(keys, wanted, sorter=order)
    rows = np.append(order, -1)[places]
    same = np.append(keys, -1)[rows] == wanted
    return np.where(same, rows, -1)


def taken(graph: RegionGraph, rows: NDArray[Any]) -> RegionGraph:
    """Return the graph of some of the edges."""
    columns = {name: getattr(graph, name) for name in _COLUMNS}
    chosen: dict[str, Any] = {n: None if c is None else c[rows] for n, c in columns.items()}
    return replace(graph, edges=graph.edges[rows], **chosen)


def contracted(graph: RegionGraph, names: NDArray[np.int64]) -> RegionGraph:
    """Return the graph in which some nodes are one.

    Parameters
    ----------
    graph : RegionGraph
    names : ndarray of int64, shape (N,)
        New node of each, from 0 without gaps.
    """
    ends = np.sort(names[graph.edges], axis=1)
    keys = ends[:, 0] * len(names) + ends[:, 1]
    apart = np.flatnonzero(ends[:, 0] != ends[:, 1])
    order = apart[np.lexsort((-graph.maxima[apart], keys[apart]))]
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    first = taken(graph, order[starts])
    summed: dict[str, Any] = {}
    for name in ("counts", "sums", "histograms", "far_counts", "far_sums"):
        values = getattr(graph, name)
        if values is not None and len(starts):
            summed[name] = np.add.reduceat(values[order], starts, axis=0)
    sizes = np.bincount(names, graph.sizes).astype(np.int64)
    return replace(first, sizes=sizes, edges=ends[order[starts]].astype(np.int32), **summed)


def stacked(sizes: NDArray[np.int64], graphs: list[RegionGraph]) -> RegionGraph:
    """Return the graph of the edges of several, in ascending order.

    What one of them does not know is not known.
    """
    edges = np.concatenate([graph.edges for graph in graphs])
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [getattr(graph, name) for graph in graphs]
        if all(value is not None for value in values):
            columns[name] = np.concatenate(values)[order]
    return RegionGraph(sizes=sizes, edges=edges[order], **columns)
