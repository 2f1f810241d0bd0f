"""The passes of MALIS over one sample: memory, order of work, results of the kernels."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_implicitseg.affinities._between import collect_between, contract, number_nodes
from napari_implicitseg.affinities._edges import LAST_EDGE, sort_edges
from napari_implicitseg.affinities._objects import (
    collect_inside,
    count_inside,
    join_inside,
    join_objects,
)
from napari_implicitseg.affinities._tree import join_nodes, pairs_of_one_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg.affinities._sample import Sample

__all__ = ["Buffers", "pairs_in_one_tree", "pairs_inside"]

# Edges of a group of small objects: they fill most of a first-level cache.
_GROUP = 1 << 12
# Each part takes one look at all edges.
_MOST_PARTS = 8
# About so many edges stand for all when these are divided, from so many rows at least.
_SAMPLED_EDGES = 1 << 17
_LEAST_ROWS = 8


class Collect(Protocol):
    """Writes edges from `begin` on and before `end` to an array, and returns how many there are.

    The array takes as many as it can hold. With a `row_step`, only those from some rows.
    """

    def __call__(
        self, begin: int, end: int, edges: NDArray[np.int64], row_step: int = 1, /
    ) -> int: ...


class Buffers:
    """Arrays that are used again, by pass after pass and sample after sample of one thread."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def take(self, name: str, size: int, kind: Any) -> NDArray[Any]:
        """Return an array of some size; what it holds is of no meaning."""
        held = self._held.get(name)
        if held is None or held.size < size:
            # Not the old one and the new one at one time.
            held = None
            self._held.pop(name, None)
            held = self._held[name] = np.empty(size, kind)
        return held[:size]

    def filled(self, name: str, size: int, value: int, kind: Any = np.int32) -> NDArray[Any]:
        """Return an array that holds a value."""
        array = self.take(name, size, kind)
        array.fill(value)
        return array


def _in_order(
    collect: Collect, sample: Sample, buffers: Buffers
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield edges in order, about `sample.edges_at_once` at a time.

    From the second part on only those that can still join something are collected, the idea of
    Filter-Kruskal (Osipov, Sanders and Singler 2009).
    """
    none = np.empty(0, np.int64)
    total = collect(0, LAST_EDGE, none)
    parts = min(_MOST_PARTS, max(1, math.ceil(total / sample.edges_at_once)))
    cuts = none
    if parts > 1:
        rows = int(sample.shape[0] * sample.shape[1])
        # Odd, to fall in step with fewer sizes.
        row_step = max(1, min(total // _SAMPLED_EDGES, rows // _LEAST_ROWS)) | 1
        some = np.empty(collect(0, LAST_EDGE, none, row_step), np.int64)
        collect(0, LAST_EDGE, some, row_step)
        some.sort()
        cuts = some[np.arange(1, parts) * len(some) // parts] if len(some) else none
    room = total if parts == 1 else int(1.1 * total / parts)
    for begin, end in pairwise([0, *cuts.tolist(), LAST_EDGE]):
        edges = buffers.take("edges", room, np.int64)
        count = collect(begin, end, edges)
        if count > room:
            room = count
            edges = buffers.take("edges", room, np.int64)
            collect(begin, end, edges)
        spare = buffers.take("spare", count, np.int64)
        yield spare if sort_edges(edges, spare, count) else edges, count


def pairs_inside(sample: Sample, buffers: Buffers, pairs: NDArray[np.int64]) -> None:
    """Count the pairs of one label that edges inside objects join.

    Parameters
    ----------
    sample : Sample
    buffers : Buffers
    pairs : ndarray of int64, shape (K * N,)
        Takes the pairs of each edge of the tree; the other elements stay as they are.
    """
    parent = buffers.filled("sets", sample.labels.size, -1)
    totals = np.zeros(sample.label_count + 1, np.int64)
    count_inside(sample.mask, sample.labels, sample.shape, sample.offsets, totals)
    totals[0] = 0
    for first, last in _batches(totals, sample.edges_at_once):
        if totals[first] > sample.edges_at_once:
            _join_large(sample, buffers, first, parent, pairs)
        else:
            _join_small(sample, buffers, first, last, totals, parent, pairs)


def _batches(totals: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """First and last label of objects with up to `most` edges together; larger ones are alone."""
    batches: list[tuple[int, int]] = []
    first, edges = 1, 0
    for label, count in enumerate(totals[1:].tolist(), 1):
        if edges and edges + count > most:
            batches.append((first, label - 1))
            first, edges = label, 0
        edges += count
        if count > most:
            batches.append((label, label))
            first, edges = label + 1, 0
    if edges:
        batches.append((first, len(totals) - 1))
    return batches


def _join_small(
    sample: Sample,
    buffers: Buffers,
    first: int,
    last: int,
    totals: NDArray[np.int64],
    parent: NDArray[np.int32],
    pairs: NDArray[np.int64],
) -> None:
    """Join some objects, whose edges are all collected at one time."""
    here = totals[first : last + 1]
    bounds = np.concatenate([[0], np.cumsum(here)])
    heads = np.zeros(len(totals), np.int64)
    heads[first : last + 1] = bounds[:-1]
    edges = buffers.take("edges", int(bounds[-1]), np.int64)
    spare = buffers.take("spare", int(here.max()) + _GROUP, np.int64)
    collect_inside(
        sample.bits, sample.mask, sample.labels, first, last, sample.shape, sample.offsets,
        sample.voxel_bits, 1, parent, 0, LAST_EDGE, heads, edges,
    )  # fmt: skip
    join_objects(edges, bounds, _GROUP, spare, parent, sample.steps, sample.voxel_bits, pairs)


def _join_large(
    sample: Sample,
    buffers: Buffers,
    label: int,
    parent: NDArray[np.int32],
    pairs: NDArray[np.int64],
) -> None:
    """Join one object, whose edges are collected some at a time."""
    heads = np.empty(sample.label_count + 1, np.int64)

    def collect(begin: int, end: int, edges: NDArray[np.int64], row_step: int = 1) -> int:
        heads[label] = 0
        collect_inside(
            sample.bits, sample.mask, sample.labels, label, label, sample.shape, sample.offsets,
            sample.voxel_bits, row_step, parent, begin, end, heads, edges,
        )  # fmt: skip
        return int(heads[label])

    for ordered, count in _in_order(collect, sample, buffers):
        join_inside(ordered, count, parent, sample.steps, sample.voxel_bits, pairs)


def pairs_in_one_tree(
    sample: Sample, buffers: Buffers, *, contracted: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the pairs of one label and of two that each edge of one tree joins.

    Parameters
    ----------
    sample : Sample
    buffers : Buffers
    contracted : bool
        Whether objects are joined inside first, wherever usable edges do it.

    Returns
    -------
    names, positive, negative : ndarray of int64, shape (J,)
        Index k * N + p of those edges that join pairs, and how many.
    """
    size = sample.labels.size
    nodes = buffers.take("nodes", size, np.int32)
    nodes[:] = np.arange(size, dtype=np.int32)
    if contracted:
        contract(sample.mask, sample.labels, sample.shape, sample.offsets, nodes)
    labelled, total = number_nodes(
        sample.labels, nodes, np.empty(0, np.int32), np.empty(0, np.int64)
    )
    label_of, weights = np.empty(labelled, np.int32), np.empty(labelled, np.int64)
    number_nodes(sample.labels, nodes, label_of, weights)
    parent = buffers.filled("sets", total, -1)
    sums = weights.copy()
    tails, follow = (np.arange(labelled, dtype=np.int32) for _ in range(2))
    walls = np.empty(labelled, np.int32)
    names, products = np.empty(labelled, np.int64), np.empty(labelled, np.int64)
    graph = (sample.bits, sample.mask, nodes, sample.shape, sample.offsets, sample.voxel_bits)

    def collect(begin: int, end: int, edges: NDArray[np.int64], row_step: int = 1) -> int:
        return int(collect_between(*graph, row_step, parent, begin, end, edges))

    joins = 0
    for ordered, count in _in_order(collect, sample, buffers):
        joins = join_nodes(
            ordered, count, nodes, sample.steps, sample.voxel_bits, parent, sums, tails, follow,
            walls, names, products, joins,
        )  # fmt: skip
    positive = pairs_of_one_label(
        label_of, sample.label_count, weights, parent, tails, follow, walls, joins
    )[:joins]
    return names[:joins], positive, products[:joins] - positive
