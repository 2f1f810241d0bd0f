"""The passes of MALIS over one sample: memory, order of work, results of the kernels."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities._between import collect_between, contract, number_nodes
from napari_implicitseg.affinities._edges import LAST_EDGE, sort_edges
from napari_implicitseg.affinities._objects import (
    collect_inside,
    group_voxels,
    join_groups,
    join_inside,
)
from napari_implicitseg.affinities._tree import join_nodes, pairs_of_one_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_implicitseg.affinities._sample import Sample

__all__ = ["Buffers", "pairs_in_one_tree", "pairs_inside"]

# Voxels of a group of small objects: its edges fill most of a first-level cache.
_GROUP = 4096
# Each part takes one look at all edges.
_MOST_PARTS = 8
# A prime, so that a sample falls in step with no axis.
_SAMPLED = 257


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

    def filled(self, name: str, size: int, value: int) -> NDArray[np.int32]:
        """Return an array of int32 that holds a value."""
        array: NDArray[np.int32] = self.take(name, size, np.int32)
        array.fill(value)
        return array


def _in_order(
    collect: Callable[[int, int, NDArray[np.int64]], int],
    sampled: Callable[[int, int, NDArray[np.int64]], int],
    most: int,
    buffers: Buffers,
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield edges in order, about `most` at a time.

    From the second part on only those that can still join something are collected, the idea of
    Filter-Kruskal (Osipov, Sanders and Singler 2009).

    Parameters
    ----------
    collect, sampled : callable
        Write edges from `begin` on and before `end` to an array, and return how many there are.
        `sampled` takes a part of them.
    most : int
    buffers : Buffers
    """
    none = np.empty(0, np.int64)
    total = collect(0, LAST_EDGE, none)
    parts = min(_MOST_PARTS, max(1, math.ceil(total / most)))
    cuts = none
    if parts > 1:
        sample = np.empty(sampled(0, LAST_EDGE, none), np.int64)
        sampled(0, LAST_EDGE, sample)
        sample.sort()
        cuts = sample[np.arange(1, parts) * len(sample) // parts]
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


def pairs_inside(sample: Sample, buffers: Buffers) -> NDArray[np.int64]:
    """Count the pairs of one label that edges inside objects join.

    Returns
    -------
    ndarray of int64, shape (K * N,)
    """
    size, channels = sample.labels.size, len(sample.offsets)
    pairs = np.zeros(channels * size, np.int64)
    voxels = buffers.take("voxels", size, np.int32)
    bounds = group_voxels(sample.labels, sample.label_count, _GROUP, voxels)
    parent = buffers.filled("sets", size, -1)
    graph = (sample.bits, sample.mask, sample.labels)
    steps, bits = sample.steps, sample.voxel_bits
    lengths = channels * np.diff(bounds)
    large = np.flatnonzero(lengths > sample.edges_at_once).tolist()
    room = int(lengths[lengths <= sample.edges_at_once].max(initial=0))
    edges, spare = (buffers.take(name, room, np.int64) for name in ("edges", "spare"))
    for first, last in pairwise([-1, *large, len(lengths)]):
        some = bounds[first + 1 : last + 1]
        join_groups(
            *graph, voxels, some, sample.shape, sample.offsets, steps, bits, edges, spare, parent,
            pairs,
        )  # fmt: skip
    rest = (sample.shape, sample.offsets, bits, parent)
    for g in large:
        group = voxels[bounds[g] : bounds[g + 1]]
        few = group[::_SAMPLED].copy()
        for ordered, count in _in_order(
            lambda *among, group=group: collect_inside(*graph, group, *rest, *among),
            lambda *among, few=few: collect_inside(*graph, few, *rest, *among),
            sample.edges_at_once,
            buffers,
        ):
            join_inside(ordered, count, parent, steps, bits, pairs)
    return pairs


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
    every = max(1, int(sample.shape[0] * sample.shape[1]) // 1024) | 1
    joins = 0
    for ordered, count in _in_order(
        lambda *among: collect_between(*graph, 1, parent, *among),
        lambda *among: collect_between(*graph, every, parent, *among),
        sample.edges_at_once,
        buffers,
    ):
        joins = join_nodes(
            ordered, count, nodes, sample.steps, sample.voxel_bits, parent, sums, tails, follow,
            walls, names, products, joins,
        )  # fmt: skip
    positive = pairs_of_one_label(
        label_of, sample.label_count, weights, parent, tails, follow, walls, joins
    )[:joins]
    return names[:joins], positive, products[:joins] - positive
